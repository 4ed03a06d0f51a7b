"""Learned absolute positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, length, num_prefix, to_map, to_pair, to_tokens
from ..registry import part
from .resize import Resize, grids_of_places, resize_table


@part
class LearnedPosition(nn.Module):
    """Add a learned vector to each place of the grid (ViT, arXiv:2010.11929, eq. 1): ``(B, N, dim)`` kept, any ``(H, W)``.

    At another grid than its own the table is resized bicubically in two dimensions (ViT, Section 3.2). Initialised as a truncated
    normal of standard deviation 0.02.

    Args:
        dim: channels.
        grid: the (height, width) that the table is made for.
        num_prefix: prefix tokens that have a position too; they must be just those that ``x`` carries. With 0, prefix tokens pass by.
        resize: how the table is resized: :func:`~vitblocks.position.resize_table`,
            :func:`~vitblocks.position.resize_table_as_timm`, :func:`~vitblocks.position.resize_table_as_dino`, or a function of your own.

    Raises:
        ValueError: in ``forward``, where ``x`` carries another number of prefix tokens than ``num_prefix``, if that is not 0.
    """

    adds_positions = True
    undecayed = ("table",)

    def __init__(self, dim: int, grid: Size, *, num_prefix: int = 0, resize: Resize = resize_table) -> None:
        super().__init__()
        self.grid = to_pair(grid, "grid")
        self.num_prefix = num_prefix
        self.resize = resize
        self.table = nn.Parameter(torch.empty(1, num_prefix + self.grid[0] * self.grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def reset_neutral(self) -> None:
        """No positions."""
        nn.init.zeros_(self.table)

    def positions(self, grid: Grid) -> Tensor:
        """The table for ``grid``: ``(1, num_prefix + H*W, dim)``."""
        size = image_grid(grid, "LearnedPosition")
        return self.table if size == self.grid else self._between(self.table, self.grid, size, self.resize)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grids that a table of this shape can have been made for, the nearest to a square first; none if it is no such table."""
        if table.dim() != 3 or table.shape[0] != 1 or table.shape[2] != self.table.shape[2]:
            return []
        return grids_of_places(table.shape[1] - self.num_prefix)

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """A table that was made for ``grid`` as one for this part's grid, by ``how`` rather than by its own ``resize``."""
        return self._between(table, grid, self.grid, how or self.resize)

    def _between(self, table: Tensor, grid: tuple[int, int], size: tuple[int, int], how: Resize) -> Tensor:
        prefix, patches = table[:, : self.num_prefix], table[:, self.num_prefix :]
        resized, _ = to_tokens(how(to_map(patches, grid), size))
        return torch.cat([prefix, resized], dim=1)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return add_positions(x, grid, self.positions(grid), self.num_prefix)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, num_prefix={self.num_prefix}"


def add_positions(x: Tensor, grid: Grid, positions: Tensor, with_position: int) -> Tensor:
    """Add ``positions (1, with_position + H*W, C)`` to ``x``, prefix tokens passing by if ``with_position`` is 0.

    Raises:
        ValueError: ``x`` has other channels than the positions, or carries another number of prefix tokens than they were made for.
    """
    prefix = num_prefix(x, grid)
    if length(x, 2) != length(positions, 2):
        raise ValueError(
            f"x must have {positions.shape[-1]} channels, as many as the positions, got shape {tuple(x.shape)}"
        )
    if prefix == with_position:
        return x + positions
    if with_position:
        raise ValueError(
            f"positions were made for num_prefix={with_position}, x carries {prefix} prefix token(s) before grid {grid}"
        )
    return torch.cat([x[:, :prefix], x[:, prefix:] + positions], dim=1)
