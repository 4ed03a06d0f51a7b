"""A bias of the logits that queries read from tables of rows and of columns."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checks import check_int
from ..grid import Grid, Size, image_grid, length, to_pair
from ..norm import at_least_float32
from ..registry import part
from .relative_bias import pad_prefix
from .resize import Resize


class OffsetTable(nn.Module):
    """A learned vector for each offset along one side of a grid, stored ``(2 * S - 1, head_dim)``, query minus key. It starts at zero.

    Args:
        head_dim: channels of a query.
        size: S, places along the side.
        axis: 0 for rows, 1 for columns.
    """

    undecayed = ("table",)

    def __init__(self, head_dim: int, size: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.grid = self._on(size)
        self.table = nn.Parameter(torch.zeros(2 * size - 1, head_dim))

    def _on(self, size: int) -> tuple[int, int]:
        return (1, size) if self.axis else (size, 1)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grid, one place wide, that a table of this shape was made for; none if it is no such table."""
        fits = table.dim() == 2 and table.shape[1] == self.table.shape[1] and table.shape[0] % 2 == 1
        return [self._on(length(table, 0) // 2 + 1)] if fits else []

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """A table that was made for ``grid`` as one for this part's: linear, all offsets stretched to all offsets."""
        return stretch(table, 2 * max(self.grid) - 1)

    def forward(self, size: int) -> Tensor:
        """The vector of each pair of places along a side of this length: ``(queries, keys, head_dim)``."""
        table = stretch(self.table, 2 * size - 1)
        # The offsets of one query are a window of the table turned round, so nothing is looked up by index.
        return rearrange(table.flip(0).unfold(0, size, 1).flip(0), "q d k -> q k d")

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


def stretch(table: Tensor, size: int) -> Tensor:
    """A table ``(offsets, C)`` for other offsets, interpolated linearly as the authors' code does; unchanged at its own size."""
    if length(table, 0) == size:
        return table
    line = rearrange(at_least_float32(table), "offsets c -> 1 c offsets")
    return rearrange(F.interpolate(line, size=size, mode="linear"), "1 c offsets -> offsets c").to(table.dtype)


@part
class DecomposedBias(nn.Module):
    """Decomposed relative positions (MViTv2, arXiv:2112.01526, Section 4.1, eqs. 4 and 5; ViTDet, arXiv:2203.16527; SAM).

    ``q . rows[qy - ky] + q . columns[qx - kx]``, of the query before it is scaled. Called by a self-attention as
    ``position_bias(grid, prefix, q) -> (..., heads, prefix + H*W, prefix + H*W)`` with the queries ``(..., heads, prefix + H*W, d)``.
    On another grid than its own the tables are stretched linearly. Pairs with a prefix token have no bias. It starts at zero.

    Args:
        head_dim: channels of a query.
        grid: the (height, width) that is attended over, such as the window.

    Raises:
        ValueError: in ``forward``, for queries of other channels than ``head_dim``.
    """

    reads_queries: ClassVar[bool] = True

    def __init__(self, head_dim: int, grid: Size) -> None:
        super().__init__()
        check_int("head_dim", head_dim)
        self.head_dim = head_dim
        self.grid = to_pair(grid, "grid")
        self.rows = OffsetTable(head_dim, self.grid[0], axis=0)
        self.columns = OffsetTable(head_dim, self.grid[1], axis=1)

    def reset_neutral(self) -> None:
        """No bias at all."""
        for side in (self.rows, self.columns):
            nn.init.zeros_(side.table)

    def forward(self, grid: Grid, prefix: int, q: Tensor) -> Tensor:
        height, width = image_grid(grid, "DecomposedBias")
        if length(q, -1) != self.head_dim:
            raise ValueError(f"queries must have head_dim={self.head_dim} channels, got {tuple(q.shape)}")
        if (height, width) == (0, 0):
            return 0 * torch.einsum("... n d, ... m d -> ... n m", q, q)
        queries = rearrange(q[..., prefix:, :], "... (h w) d -> ... h w d", h=height)
        down = torch.einsum("...hwd, hkd -> ...hwk", queries, self.rows(height))
        right = torch.einsum("...hwd, wkd -> ...hwk", queries, self.columns(width))
        bias = down[..., :, None] + right[..., None, :]
        return pad_prefix(rearrange(bias, "... h w k l -> ... (h w) (k l)"), prefix)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, grid={self.grid}"
