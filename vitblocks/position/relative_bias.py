"""Biases of the logits that depend on where two tokens lie relative to one another."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, length, to_pair
from ..registry import part
from .resize import Resize, grids_of_places, resize_table


def pad_prefix(bias: Tensor, prefix: int) -> Tensor:
    """``(heads, n, m) -> (heads, prefix + n, prefix + m)``: zero wherever a prefix token is involved."""
    return F.pad(bias, (prefix, 0, prefix, 0)) if prefix else bias


def no_bias(entries: Tensor, prefix: int) -> Tensor:
    """Zero among prefix tokens alone, ``entries (heads)`` times 0: the table has a gradient, and exporters see no empty tensor."""
    return repeat(0 * entries, "heads -> heads n m", n=prefix, m=prefix)


def pairwise(table: Tensor, stride: tuple[int, int] = (1, 1)) -> Tensor:
    """A table of offsets ``(heads, 2H-1, 2W-1)``, query minus key, as the bias of each pair of places: ``(heads, queries, H*W)``.

    The biases of one query are a window of the table turned round, so nothing is looked up by index. There is a query at every
    ``stride``-th row and column.
    """
    height, width = (length(table, axis) // 2 + 1 for axis in (1, 2))
    windows = table.flip(1, 2).unfold(1, height, 1).unfold(2, width, 1).flip(1, 2)
    return rearrange(windows[:, :: stride[0], :: stride[1]], "heads h w H W -> heads (h w) (H W)")


@part
class RelativeBias(nn.Module):
    """A learned bias for each offset between two places of a grid (Swin, arXiv:2103.14030, eq. 4).

    Called as ``position_bias(grid, prefix) -> (heads, prefix + H*W, prefix + H*W)``. A smaller grid reads the offsets it has; a larger
    one has the table resized bicubically in two dimensions. Pairs with a prefix token have no bias. Initialised as a truncated normal
    of standard deviation 0.02.

    Args:
        heads: attention heads.
        grid: the (height, width) that is attended over, such as the window.
        resize: how all offsets of a grid become those of another, smaller or larger, in place of that rule:
            :func:`~vitblocks.position.resize_offsets_as_beit`, :func:`~vitblocks.position.resize_offsets_as_transformers`, or a function
            of your own.
    """

    undecayed = ("table",)

    def __init__(self, heads: int, grid: Size, *, resize: Resize | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.grid = to_pair(grid, "grid")
        self.resize = resize
        rows, columns = 2 * self.grid[0] - 1, 2 * self.grid[1] - 1
        self.table = nn.Parameter(torch.empty(rows * columns, heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def reset_neutral(self) -> None:
        """No bias at all."""
        nn.init.zeros_(self.table)

    @torch.no_grad()
    def take_offsets(self, offsets: Tensor) -> None:
        """Take over the bias of every offset on its own grid, ``(heads, 2H-1, 2W-1)``."""
        self.table.copy_(rearrange(offsets, "heads h w -> (h w) heads"))

    def offsets(self, grid: tuple[int, int]) -> Tensor:
        """The table as ``(heads, 2H-1, 2W-1)`` for this grid: its own, its middle, or resized."""
        own = rearrange(self.table, "(h w) heads -> 1 heads h w", h=2 * self.grid[0] - 1)
        if self.resize is not None:
            return self.resize(own, (2 * grid[0] - 1, 2 * grid[1] - 1))[0]
        larger = (max(grid[0], self.grid[0]), max(grid[1], self.grid[1]))
        size = (2 * larger[0] - 1, 2 * larger[1] - 1)
        top, left = larger[0] - grid[0], larger[1] - grid[1]
        return resize_table(own, size)[0, :, top : top + 2 * grid[0] - 1, left : left + 2 * grid[1] - 1]

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grids that a table of this shape can have been made for, the nearest to a square first; none if it is no such table."""
        if table.dim() != 2 or table.shape[1] != self.heads:
            return []
        odd = [(rows, columns) for rows, columns in grids_of_places(table.shape[0]) if rows % 2 and columns % 2]
        return [(rows // 2 + 1, columns // 2 + 1) for rows, columns in odd]

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """A table that was made for ``grid`` as one for this part's grid: by its own ``resize``, or bicubic, all stretched to all."""
        image = rearrange(table, "(h w) heads -> 1 heads h w", h=2 * grid[0] - 1)
        size = (2 * self.grid[0] - 1, 2 * self.grid[1] - 1)
        return rearrange((self.resize or resize_table)(image, size), "1 heads h w -> (h w) heads")

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        size = image_grid(grid, "RelativeBias")
        if size == (0, 0):
            return no_bias(self.table[0], prefix)
        return pad_prefix(pairwise(self.offsets(size)), prefix)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, grid={self.grid}"


@part
class DistanceBias(nn.Module):
    """A learned bias for each *absolute* offset between a query and a key (LeViT, arXiv:2104.01136, Section 4.2, eq. 1).

    Called as ``position_bias(grid, prefix) -> (heads, prefix + queries, prefix + H*W)``. The table is stored ``(heads, H, W)`` by row and
    column distance; a smaller grid reads the distances it has, a larger one has it resized bicubically. Initialised at zero, as the
    authors' code does.

    Args:
        heads: attention heads.
        grid: the (height, width) of the keys.
        stride: rows and columns between two queries; 1 where queries and keys are the same tokens.
    """

    undecayed = ("table",)

    def __init__(self, heads: int, grid: Size, *, stride: Size = 1) -> None:
        super().__init__()
        self.heads = heads
        self.grid = to_pair(grid, "grid")
        self.stride = to_pair(stride, "stride")
        self.table = nn.Parameter(torch.zeros(heads, *self.grid))

    def reset_neutral(self) -> None:
        """No bias at all."""
        nn.init.zeros_(self.table)

    @torch.no_grad()
    def take_offsets(self, offsets: Tensor) -> None:
        """Take over the bias of every offset on its own grid, ``(heads, 2H-1, 2W-1)``: the mean of those at one distance."""
        mean = (offsets + offsets.flip(1) + offsets.flip(2) + offsets.flip(1, 2)) / 4
        self.table.copy_(mean[:, self.grid[0] - 1 :, self.grid[1] - 1 :])

    def offsets(self, grid: tuple[int, int]) -> Tensor:
        """The bias of every offset: ``(heads, 2H-1, 2W-1)``."""
        larger = (max(grid[0], self.grid[0]), max(grid[1], self.grid[1]))
        table = resize_table(self.table[None], larger)[0, :, : grid[0], : grid[1]]
        table = torch.cat([table.flip(1)[:, :-1], table], dim=1)
        return torch.cat([table.flip(2)[:, :, :-1], table], dim=2)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grid that a table of this shape was made for; none if it is no such table."""
        fits = table.dim() == 3 and table.shape[0] == self.heads and table.numel() > 0
        return [(length(table, 1), length(table, 2))] if fits else []

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """A table that was made for ``grid`` as one for this part's grid: the distances that it has, or all bicubic for a larger one."""
        larger = (max(grid[0], self.grid[0]), max(grid[1], self.grid[1]))
        return resize_table(table[None], larger)[0, :, : self.grid[0], : self.grid[1]]

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        size = image_grid(grid, "DistanceBias")
        if size == (0, 0):
            return no_bias(self.table[:, 0, 0], prefix)
        return pad_prefix(pairwise(self.offsets(size), self.stride), prefix)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, grid={self.grid}, stride={self.stride}"


@part
class ClassRelativeBias(nn.Module):
    """A relative bias in which prefix tokens have a part (BEiT, arXiv:2106.08254, authors' code; SimMIM's ViT, arXiv:2111.09886).

    Called as ``position_bias(grid, prefix) -> (heads, prefix + H*W, prefix + H*W)``. Among patches it is a :class:`RelativeBias`; further
    three numbers a head are for a prefix token that looks at a patch, a patch that looks at a prefix token, and prefix tokens among
    themselves. All start at zero, as in the authors' code.

    Args:
        heads: attention heads.
        grid: the (height, width) that is attended over.
        resize: of the patches' offsets, see :class:`RelativeBias`.
    """

    undecayed = ("pairs",)

    def __init__(self, heads: int, grid: Size, *, resize: Resize | None = None) -> None:
        super().__init__()
        self.patches = RelativeBias(heads, grid, resize=resize)
        nn.init.zeros_(self.patches.table)
        self.pairs = nn.Parameter(torch.zeros(3, heads))

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        to_patch, to_prefix, among = self.pairs
        places = prod(grid)
        among = repeat(among, "heads -> heads n m", n=prefix, m=prefix)
        if places == 0:
            return among
        above = torch.cat([among, repeat(to_patch, "heads -> heads n m", n=prefix, m=places)], dim=2)
        below = torch.cat([repeat(to_prefix, "heads -> heads n m", n=places, m=prefix), self.patches(grid)], dim=2)
        return torch.cat([above, below], dim=1)
