"""Smoothed softmax: every visible key keeps a little weight, as adaptive token sampling was published with."""

from __future__ import annotations

from torch import Tensor

from ..norm import at_least_float32
from ..registry import part
from .attend import Attend


@part
class SmoothedSoftmaxAttend(Attend):
    """``(e + eps / m) / (sum(e) + eps)`` with ``e = exp(logits - row maximum)`` (the authors' code of ATS, arXiv:2111.15667).

    A key that a bias of -inf hides has ``e = 0``, and so keeps ``eps / m`` of the weight, as published. The row maximum is that of the
    products alone: it runs over hidden keys too. ``eps``, which would vanish in half precision, is added in float32.
    """

    def __init__(self, *, scale: float | None = None, dropout: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.eps = eps

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = self.logits(q, k)
        shift = -logits.amax(dim=-1, keepdim=True)
        if bias is not None:
            # A finite bias may raise a logit above the largest product: exp must not overflow for it.
            shift = shift - bias.amax(dim=-1, keepdim=True).clamp(min=0)
            logits = logits + bias
        e = at_least_float32((logits + shift).exp())
        weights = (e + self.eps / k.shape[-2]) / (e.sum(dim=-1, keepdim=True) + self.eps)
        return weights.to(q.dtype)
