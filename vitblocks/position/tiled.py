"""Learned positions within a window, the same in all windows."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, length, to_pair
from ..registry import part
from .learned import add_positions
from .resize import Resize, grids_of_places, resize_table


@part
class TiledPosition(nn.Module):
    """Add a learned vector to each place of a window, the same in every window: ``(B, N, dim)`` kept, any ``(H, W)``.

    With a :class:`~vitblocks.LearnedPosition` before it, whose table is resized to the whole map, these are absolute window positions
    (arXiv:2311.05613, Section 3): what windows have learned stays in its place on larger images. Prefix tokens pass by. Initialised as a
    truncated normal of standard deviation 0.02.

    Args:
        dim: channels.
        window: an int or a (height, width).
    """

    adds_positions = True
    undecayed = ("table",)
    num_prefix = 0

    def __init__(self, dim: int, window: Size) -> None:
        super().__init__()
        self.grid = to_pair(window, "window")
        self.table = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def reset_neutral(self) -> None:
        """No positions."""
        nn.init.zeros_(self.table)

    def positions(self, grid: Grid) -> Tensor:
        """The table for ``grid``: ``(1, H*W, dim)``."""
        height, width = image_grid(grid, "TiledPosition")
        rows, columns = self.grid
        tiled = repeat(
            self.table, "1 (h w) c -> 1 (i h) (j w) c", h=rows, w=columns, i=-(-height // rows), j=-(-width // columns)
        )
        return rearrange(tiled[:, :height, :width], "1 h w c -> 1 (h w) c")

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The windows that a table of this shape can have been made for, the nearest to a square first; none if it is no such table."""
        fits = table.dim() == 3 and table.shape[0] == 1 and table.shape[2] == self.table.shape[2]
        return grids_of_places(length(table, 1)) if fits else []

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """A table that was made for windows of ``grid`` as one for this part's, by ``how`` or bicubic."""
        image = rearrange(table, "1 (h w) c -> 1 c h w", h=grid[0])
        return rearrange((how or resize_table)(image, self.grid), "1 c h w -> 1 (h w) c")

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return add_positions(x, grid, self.positions(grid), 0)

    def extra_repr(self) -> str:
        return f"window={self.grid}"
