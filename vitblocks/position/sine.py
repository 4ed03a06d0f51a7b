"""Fixed sine positions."""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, to_pair
from ..registry import part
from .learned import add_positions
from .resize import Resize, grids_of_places


def sine_1d(length: int, dim: int) -> Tensor:
    """``(length, dim)`` in float64: sine on even channels, cosine on odd ones (arXiv:1706.03762, Section 3.5)."""
    channel = torch.arange(dim, dtype=torch.float64)
    frequency = 10000.0 ** (-2 * (channel // 2) / dim)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def sine_2d(grid: tuple[int, int], dim: int) -> Tensor:
    """``(H*W, dim)`` in float64: the first half of the channels from the column, the second from the row, each [sin | cos].

    As in the code of MAE (arXiv:2111.06377) and MoCo v3.

    Raises:
        ValueError: ``dim`` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"dim must be a multiple of 4 for 2-D sine positions, got {dim}")
    frequency = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = (torch.arange(side, dtype=torch.float64)[:, None] * frequency for side in grid)
    rows, columns = (torch.cat([angle.sin(), angle.cos()], dim=-1) for angle in (rows, columns))
    columns = repeat(columns, "w d -> (h w) d", h=grid[0])
    return torch.cat([columns, repeat(rows, "h d -> (h w) d", w=grid[1])], dim=-1)


class _SinePosition(nn.Module):
    """Fixed positions by a formula, as the papers' code stores them: in float32, part of the state_dict.

    Args:
        dim: channels.
        grid: the (height, width) whose table is stored; other grids compute theirs as they come.
        num_prefix: prefix tokens that have a position too; with 0, prefix tokens pass by.
    """

    table: Tensor
    fixed = True

    def __init__(self, dim: int, grid: Size, *, num_prefix: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.grid = to_pair(grid, "grid")
        self.num_prefix = num_prefix
        self.register_buffer("table", self.formula(self.grid).float()[None])

    def formula(self, grid: tuple[int, int]) -> Tensor:
        """``(num_prefix + H*W, dim)`` in float64."""
        raise NotImplementedError

    def positions(self, grid: Grid) -> Tensor:
        """The table for ``grid``: ``(1, num_prefix + H*W, dim)``."""
        size = image_grid(grid, type(self).__name__)
        return self.table if size == self.grid else self.formula(size).float()[None].to(self.table)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grids whose table this is, by its numbers; none if it does not come from the formula."""
        if table.dim() != 3 or table.shape[0] != 1 or table.shape[2] != self.dim:
            return []
        given = table[0].double().cpu()
        grids = grids_of_places(table.shape[1] - self.num_prefix)
        return [grid for grid in grids if torch.allclose(given, self.formula(grid), atol=1e-2)]  # bfloat16 has 8 bits

    def resized(self, table: Tensor, grid: tuple[int, int], how: Resize | None = None) -> Tensor:
        """The table for this part's grid, whatever that of another one is."""
        return self.formula(self.grid).float()[None]

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return add_positions(x, grid, self.positions(grid), self.num_prefix)

    def extra_repr(self) -> str:
        return f"grid={self.grid}, num_prefix={self.num_prefix}"


@part
class SinePosition1d(_SinePosition):
    """Sine positions along the sequence, prefix tokens first (T2T-ViT, arXiv:2101.11986; CCT, arXiv:2104.05704): ``(B, N, dim)`` kept.

    Prefix tokens all stand at position 0 and the patches from 1 on, so that a second one (distillation, register) moves no patch.
    """

    adds_positions = True

    def formula(self, grid: tuple[int, int]) -> Tensor:
        table = sine_1d(min(self.num_prefix, 1) + grid[0] * grid[1], self.dim)
        return torch.cat([table[:1].expand(max(self.num_prefix - 1, 0), -1), table])


@part
class SinePosition2d(_SinePosition):
    """Sine positions of row and column, zeros for prefix tokens (MAE, arXiv:2111.06377): ``(B, N, dim)`` kept."""

    adds_positions = True

    def formula(self, grid: tuple[int, int]) -> Tensor:
        table = sine_2d(grid, self.dim)
        return torch.cat([table.new_zeros(self.num_prefix, self.dim), table])
