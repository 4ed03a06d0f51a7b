"""Cosine attention: logits by the angle between query and key alone."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_int
from ..norm import at_least_float32
from ..registry import part
from .attend import Attend, as_bias, hide_keys, hides_training, softmax_attention


@part
class CosineAttend(Attend):
    """Softmax of scaled cosines: ``cos(q, k) * exp(min(logit_scale, ln 100)) + bias`` (Swin V2, arXiv:2111.09883, Section 3.3, eq. 2).

    ``logit_scale (heads, 1, 1)`` is learned, starts at ln 10, and is never more than ln 100, as in the authors' code. Lengths are taken in
    float32 at least; a query or key of length 0 has a cosine of 0 with all.

    Args:
        heads: attention heads, each of which has its own scale.
        dropout: rate on the attention weights in training.

    Raises:
        ValueError: ``heads`` is not positive, or ``dropout`` no rate.
    """

    hides_keys = True
    weighs_logits = True
    undecayed = ("logit_scale",)

    def __init__(self, heads: int, *, dropout: float = 0.0) -> None:
        check_int("heads", heads)
        super().__init__(dropout=dropout)
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), log(10.0)))

    def units(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries of their head's scale for length, and keys of length 1."""
        scale = self.logit_scale.clamp(max=log(100.0)).exp()
        return unit(q) * scale.to(q.dtype), unit(k)

    def logits(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k = self.units(q, k)
        logits = torch.einsum("... n d, ... m d -> ... n m", q, k)
        return logits if bias is None else logits + as_bias(bias, logits.dtype)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return hide_keys(self.logits(q, k, bias).softmax(dim=-1), bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if hides_training(q, bias):
            return super().forward(q, k, v, bias)
        return softmax_attention(*self.units(q, k), v, bias, scale=1.0, dropout=self.dropout if self.training else 0.0)


def unit(x: Tensor) -> Tensor:
    """Vectors ``(..., d)`` at length 1; zeros stay zeros."""
    return F.normalize(at_least_float32(x), dim=-1).to(x.dtype)
