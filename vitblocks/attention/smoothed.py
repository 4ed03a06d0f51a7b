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

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = self.logits(q, k)
        logits = logits if logits.itemsize >= 4 else logits.float()
        largest = logits.amax(dim=-1, keepdim=True)
        if bias is not None:
            # A finite bias may raise a logit above the largest product: exp must not overflow for it.
            largest = largest + bias.amax(dim=-1, keepdim=True).clamp(min=0)
            logits = logits + bias
        e = (logits - largest).exp()
        weights = (e + self.eps / k.shape[-2]) / (e.sum(dim=-1, keepdim=True) + self.eps)
        return weights.to(q.dtype)
