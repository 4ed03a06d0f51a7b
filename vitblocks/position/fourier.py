"""Sines of places, mixed by a learned map."""

from __future__ import annotations

from math import pi

import torch
from einops import repeat
from torch import Tensor, nn

from ..checks import check_int
from ..grid import Grid, image_grid
from ..registry import part
from .learned import add_positions


@part
class FourierPosition(nn.Module):
    """Add sines and cosines of row and column through a Linear (XCiT, arXiv:2106.09681, Section 3.4): ``(B, N, dim)`` kept, any ``(H, W)``.

    Places are counted from 1 and divided by the length of the side, so that every grid spans one turn. Prefix tokens pass by.

    Args:
        dim: channels.
        hidden_dim: sines and cosines of each axis.
        temperature: of the frequencies, ``temperature ** (-2 i / hidden_dim)``.
    """

    adds_positions = True
    num_prefix = 0

    def __init__(self, dim: int, *, hidden_dim: int = 32, temperature: float = 10000.0) -> None:
        super().__init__()
        check_int("hidden_dim", hidden_dim)
        self.hidden_dim = hidden_dim
        self.temperature = temperature
        self.proj = nn.Linear(2 * hidden_dim, dim)

    def positions(self, grid: Grid) -> Tensor:
        """``(1, H*W, dim)``, the sines computed in the weights' precision, in float32 at least."""
        height, width = image_grid(grid, "FourierPosition")
        rows, columns = self._sines(height), self._sines(width)
        waves = torch.cat([repeat(rows, "h d -> (h w) d", w=width), repeat(columns, "w d -> (h w) d", h=height)], dim=1)
        return self.proj(waves.to(self.proj.weight))[None]

    def _sines(self, side: int) -> Tensor:
        weight = self.proj.weight
        dtype = weight.dtype if weight.itemsize >= 4 else torch.float32
        channel = torch.arange(self.hidden_dim, dtype=dtype, device=weight.device)
        places = torch.arange(1, side + 1, dtype=dtype, device=weight.device) / (side + 1e-6) * 2 * pi
        angle = places[:, None] / self.temperature ** (2 * (channel // 2) / self.hidden_dim)
        return torch.where(channel % 2 == 0, angle.sin(), angle.cos())

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return add_positions(x, grid, self.positions(grid), self.num_prefix)

    def extra_repr(self) -> str:
        return f"hidden_dim={self.hidden_dim}, temperature={self.temperature:g}"
