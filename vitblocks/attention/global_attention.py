"""Global self-attention: every token attends to every token."""

from __future__ import annotations

from torch import Tensor

from ..grid import Grid, num_prefix
from ..registry import part
from .base import ONE, SelfAttention


@part
class GlobalAttention(SelfAttention):
    """Multi-head self-attention over all tokens (ViT, arXiv:2010.11929, Appendix A): ``(B, N, dim) -> (B, N, dim)``, any grid.

    Prefix tokens are ordinary tokens. Arguments: see :class:`~vitblocks.attention.SelfAttention`.
    """

    reads = ("qkv",)
    writes = "proj"
    separable = ("qkv",)
    steps = ONE

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.mix(x, grid, num_prefix(x, grid))
