"""Regional attention: each window attends together with the one regional token that stands for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from typing_extensions import Unpack

from ..grid import Grid, Size, split_prefix
from ..prefix import join_prefix
from ..registry import part
from .base import SelfAttention, SelfAttentionOptions
from .windows import Windows, labels_mask


def split_regional(x: Tensor, grid: Grid, windows: Windows, what: str) -> tuple[Tensor, Tensor]:
    """``x (B, R + H*W, C)`` as regional tokens ``(B, R, C)``, row-major, one per window, and patches ``(B, H*W, C)``.

    Raises:
        ValueError: the prefix tokens are not as many as the windows.
    """
    regional, patches = split_prefix(x, grid)
    rows, columns = windows.counts(grid)
    if regional.shape[1] != rows * columns:
        raise ValueError(
            f"{what} needs one prefix token per window: grid {grid} has {rows} x {columns} windows of "
            f"{windows.window(grid)}, x carries {regional.shape[1]} prefix token(s)"
        )
    return regional, patches


@part
class RegionalAttention(SelfAttention):
    """Attention of a window's tokens and its regional token (RegionViT, arXiv:2106.02689, Section 3.2, eq. 2).

    ``(B, R + H*W, dim) -> (B, R + H*W, dim)``: the R prefix tokens are the regional ones, row-major, exactly one per window. On the
    grid ``(0, 0)`` the regional tokens attend to one another, which is the paper's regional self-attention; the same weights serve both.
    A position bias applies among the window's own tokens alone.

    Args:
        window: size of a region, an int or a (height, width).
        head_dim, value_dim, qkv, qkv_bias, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.

    Raises:
        ValueError: in ``forward``, where the prefix tokens are not as many as the windows.
    """

    reads = ("qkv",)
    writes = "proj"
    hidden_by = "attend"

    def __init__(self, dim: int, heads: int = 8, *, window: Size = 7, **options: Unpack[SelfAttentionOptions]) -> None:
        super().__init__(dim, heads, **options)
        self.windows = Windows(window)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if grid == (0, 0):
            return self.mix(x, grid, x.shape[1])
        regional, patches = split_regional(x, grid, self.windows, type(self).__name__)
        return join_prefix(*self.mix_regions(regional, patches, grid, self._mask(grid, x)))

    def mix_regions(self, regional: Tensor, patches: Tensor, grid: Grid, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every window together with its regional token; ``mask`` is a bias ``(R, 1, 1 + n, 1 + n)``."""
        together = torch.cat([rearrange(regional, "b r c -> b r 1 c"), self.windows.split(patches, grid)], dim=2)
        mixed = self.mix(together, self.windows.window(grid), 1, mask)
        regional, windows = mixed.split([1, mixed.shape[2] - 1], dim=2)
        return rearrange(regional, "b r 1 c -> b r c"), self.windows.join(windows, grid)

    def _mask(self, grid: Grid, like: Tensor) -> Tensor | None:
        labels = self.windows.labels(grid, like.device)
        # The regional token bears the label of the grid's own tokens, so it meets them and not the padding.
        return None if labels is None else labels_mask(F.pad(labels, (1, 0), value=0), like.dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, windows={self.windows}"
