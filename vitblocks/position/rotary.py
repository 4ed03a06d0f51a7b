"""Rotary positions: queries and keys turn with the place they stand at."""

from __future__ import annotations

from math import pi
from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from ..checks import check_choice
from ..grid import Grid, Size, image_grid, to_pair
from ..registry import part


@part
class Rotary2d(nn.Module):
    """Axial rotary positions (RoFormer, arXiv:2104.09864, eq. 34, over rows and columns as in arXiv:2403.13298, Section 3.2).

    Called as ``rotary(q, k, grid) -> (q, k)`` on ``(..., heads, n, head_dim)``; the products then depend on offsets alone. The first half
    of a head's pairs of channels turns with the row, the second with the column. Prefix tokens are not turned. It has no parameters.

    Args:
        head_dim: channels of a query or key, a multiple of 4.
        base: of the frequencies ``base ** (-4 i / head_dim)``; 100 as in arXiv:2403.13298 suits the short sides of an image.
        pairs: ``"neighbours"``, channels ``2 i`` and ``2 i + 1``; or ``"halves"``, channels ``i`` and ``i + head_dim / 2``.
        coordinates: ``"index"``, 0, 1, 2, ... along each axis; or ``"centre"``, those of the centres of patches in an image from -1 to 1,
            of which 1 is a full turn at the first frequency (DINOv3, arXiv:2508.10104, Section 3.2).
        grid: the (height, width) that an index counts in: places of another grid are scaled to it (EVA-02, arXiv:2303.11331). None for
            the places themselves.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        base: float = 100.0,
        pairs: Literal["neighbours", "halves"] = "neighbours",
        coordinates: Literal["index", "centre"] = "index",
        grid: Size | None = None,
    ) -> None:
        """Raises ValueError where ``head_dim`` is not a multiple of 4, or a choice is unknown."""
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"head_dim must be a multiple of 4 for 2-D rotary positions, got {head_dim}")
        check_choice("pairs", pairs, ("neighbours", "halves"))
        check_choice("coordinates", coordinates, ("index", "centre"))
        self.head_dim = head_dim
        self.base = base
        self.pairs = pairs
        self.coordinates = coordinates
        self.grid = None if grid is None else to_pair(grid, "grid")

    def along(self, size: int, own: int | None, like: Tensor) -> Tensor:
        """The coordinates of ``size`` places along an axis, ``own`` of which its grid has: ``(size,)``."""
        index = torch.arange(size, device=like.device, dtype=like.dtype)
        if self.coordinates == "centre":
            return 2 * pi * (2 * (index + 0.5) / size - 1)
        return index if own is None else index / size * own

    def angles(self, grid: Grid, like: Tensor) -> Tensor:
        """``(H*W, head_dim / 2)``: the angle of each pair of channels, in float32 or better."""
        height, width = image_grid(grid, "Rotary2d")
        dtype = like.dtype if like.itemsize >= 4 else torch.float32
        steps = torch.arange(self.head_dim // 4, device=like.device, dtype=dtype)
        frequency = self.base ** (-4 * steps / self.head_dim)
        own = (None, None) if self.grid is None else self.grid
        rows = self.along(height, own[0], frequency)[:, None] * frequency
        columns = self.along(width, own[1], frequency)[:, None] * frequency
        rows = repeat(rows, "h d -> (h w) d", w=width)
        return torch.cat([rows, repeat(columns, "w d -> (h w) d", h=height)], dim=-1)

    def forward(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        angles = self.angles(grid, q)
        cos, sin = angles.cos(), angles.sin()
        split, join = _PAIRS[self.pairs]
        return _turn(q, cos, sin, split, join), _turn(k, cos, sin, split, join)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, base={self.base:g}"


_PAIRS = {
    "neighbours": ("... (d two) -> two ... d", "two ... d -> ... (d two)"),
    "halves": ("... (two d) -> two ... d", "two ... d -> ... (two d)"),
}


def _turn(x: Tensor, cos: Tensor, sin: Tensor, split: str, join: str) -> Tensor:
    """Turn the last ``len(cos)`` tokens of ``x``; those before them are prefix tokens."""
    prefix = x.shape[-2] - cos.shape[0]
    first, second = rearrange(x[..., prefix:, :], split, two=2)
    turned = rearrange(torch.stack([first * cos - second * sin, first * sin + second * cos]), join)
    return torch.cat([x[..., :prefix, :], turned.to(x.dtype)], dim=-2)
