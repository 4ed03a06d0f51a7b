"""Smoothed softmax: every visible key keeps a little weight, as adaptive token sampling was published with."""

from __future__ import annotations

from torch import Tensor

from .attend import Attend


class SmoothedSoftmaxAttend(Attend):
    """``(e + eps / m) / (sum(e) + eps)`` with ``e = exp(logits - row maximum)`` (the authors' code of ATS, arXiv:2111.15667).

    A key that a bias of -inf hides has ``e = 0``, and so keeps ``eps / m`` of the weight, as published. The row maximum is that of the
    products alone: it runs over hidden keys too. Computed in float32 for half-precision inputs, where ``eps`` would vanish.
    """

    def __init__(self, *, scale: float | None = None, dropout: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.eps = eps

    def exponentials(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """``e``, in float32 at least."""
        logits = self.logits(q, k)
        logits = logits if logits.itemsize >= 4 else logits.float()
        largest = logits.amax(dim=-1, keepdim=True)
        if bias is None:
            return (logits - largest).exp_()
        # A finite bias may raise a logit above the largest product: exp must not overflow for it.
        largest = largest + bias.amax(dim=-1, keepdim=True).clamp(min=0)
        # In place on a difference that nothing else reads: a fresh matrix costs more than its exponentials.
        return (logits - largest).add_(bias).exp_()

    def total(self, e: Tensor) -> Tensor:
        """What a row is divided by: ``(B, ..., heads, n, 1)``."""
        return e.sum(dim=-1, keepdim=True) + self.eps

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        e = self.exponentials(q, k, bias)
        return ((e + self.eps / k.shape[-2]) / self.total(e)).to(q.dtype)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.training and self.dropout:
            return super().forward(q, k, v, bias)
        # The values are divided rather than the weights, and every key's share of eps goes by the mean of the values: two passes over
        # the attention matrix less.
        e = self.exponentials(q, k, bias)
        mixed = (e.to(v.dtype) @ v).to(e.dtype) + self.eps * v.to(e.dtype).mean(dim=-2, keepdim=True)
        return (mixed / self.total(e)).to(q.dtype)
