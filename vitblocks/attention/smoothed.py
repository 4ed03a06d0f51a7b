"""Smoothed softmax: every visible key keeps a little weight, as adaptive token sampling was published with."""

from __future__ import annotations

from torch import Tensor

from ..precision import at_least_float32
from .attend import Attend


class SmoothedSoftmaxAttend(Attend):
    """``(e + eps / m) / (sum(e) + eps)`` with ``e = exp(logits - row maximum)`` (the authors' code of ATS, arXiv:2111.15667).

    A key that a bias of -inf hides has ``e = 0``, and so keeps ``eps / m`` of the weight, as published. The row maximum is that of the
    products alone: it runs over hidden keys too. ``eps``, which would vanish in half precision, is added in float32.
    """

    def __init__(self, *, scale: float | None = None, dropout: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.eps = eps

    def exponentials(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        """``e``, in the precision of ``q``."""
        logits = self.logits(q, k)
        shift = -self.largest(logits)
        if bias is None:
            return (logits + shift).exp_()
        bias = bias.to(logits.dtype)
        # A finite bias may raise a logit above the largest product: exp must not overflow for it.
        shift = shift - bias.amax(dim=-1, keepdim=True).clamp(min=0)
        # In place on a sum that nothing else reads: a fresh matrix costs more than its exponentials.
        return (logits + shift).add_(bias).exp_()

    def largest(self, logits: Tensor) -> Tensor:
        """The maximum of each row: ``(B, ..., heads, n, 1)``."""
        # For its gradient PyTorch keeps the whole matrix after amax, after max the places of the maxima.
        if logits.requires_grad:
            return logits.max(dim=-1, keepdim=True).values
        # Its maximum over half-precision numbers took three times as long as that of their float32 copies on a CPU.
        return at_least_float32(logits).amax(dim=-1, keepdim=True).to(logits.dtype)

    def total(self, e: Tensor) -> Tensor:
        """What a row is divided by: ``(B, ..., heads, n, 1)``, in float32 at least."""
        return at_least_float32(e).sum(dim=-1, keepdim=True) + self.eps

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        e = self.exponentials(q, k, bias)
        return ((at_least_float32(e) + self.eps / k.shape[-2]) / self.total(e)).to(q.dtype)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.training and self.dropout:
            return super().forward(q, k, v, bias)
        # The values are divided rather than the weights, and every key's share of eps goes by the mean of the values: two passes over
        # the attention matrix less.
        e = self.exponentials(q, k, bias)
        mixed = e @ v + self.eps * at_least_float32(v.mean(dim=-2, keepdim=True))
        return (mixed / self.total(e)).to(q.dtype)
