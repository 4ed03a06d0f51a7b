"""Rotary positions: queries and keys turn with the place they stand at."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..grid import Grid, image_grid
from ..registry import part


@part
class Rotary2d(nn.Module):
    """Axial rotary positions (RoFormer, arXiv:2104.09864, eq. 34, over rows and columns as in arXiv:2403.13298, Section 3.2).

    Called as ``rotary(q, k, grid) -> (q, k)`` on ``(..., heads, n, head_dim)``; the products then depend on offsets alone. The first half
    of a head's channels turns with the row, the second with the column; pairs are neighbouring channels. Prefix tokens are not turned.
    It has no parameters.

    Args:
        head_dim: channels of a query or key, a multiple of 4.
        base: of the frequencies ``base ** (-4 i / head_dim)``; 100 as in arXiv:2403.13298 suits the short sides of an image.
    """

    def __init__(self, head_dim: int, *, base: float = 100.0) -> None:
        """Raises ValueError where ``head_dim`` is not a multiple of 4."""
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"head_dim must be a multiple of 4 for 2-D rotary positions, got {head_dim}")
        self.head_dim = head_dim
        self.base = base

    def angles(self, grid: Grid, like: Tensor) -> Tensor:
        """``(H*W, head_dim / 2)``: the angle of each pair of channels, in float32 or better."""
        height, width = image_grid(grid, "Rotary2d")
        dtype = like.dtype if like.itemsize >= 4 else torch.float32
        steps = torch.arange(self.head_dim // 4, device=like.device, dtype=dtype)
        frequency = self.base ** (-4 * steps / self.head_dim)
        rows = torch.arange(height, device=like.device, dtype=dtype)[:, None] * frequency
        columns = torch.arange(width, device=like.device, dtype=dtype)[:, None] * frequency
        rows = repeat(rows, "h d -> (h w) d", w=width)
        return torch.cat([rows, repeat(columns, "w d -> (h w) d", h=height)], dim=-1)

    def forward(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        angles = self.angles(grid, q)
        cos, sin = angles.cos(), angles.sin()
        return _turn(q, cos, sin), _turn(k, cos, sin)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, base={self.base:g}"


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the last ``len(cos)`` tokens of ``x``; those before them are prefix tokens."""
    prefix = x.shape[-2] - cos.shape[0]
    even, odd = x[..., prefix:, 0::2], x[..., prefix:, 1::2]
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    turned = rearrange(turned, "... d two -> ... (d two)")
    return torch.cat([x[..., :prefix, :], turned.to(x.dtype)], dim=-2)
