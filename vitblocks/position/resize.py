"""Resize a table of positions in two dimensions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..grid import map_size
from ..norm import at_least_float32
from ..registry import part

Resize: TypeAlias = Callable[[Tensor, tuple[int, int]], Tensor]
"""A table ``(1, C, H, W)`` and a size to ``(1, C, *size)``."""


@part
def resize_table(table: Tensor, size: tuple[int, int], mode: str = "bicubic", antialias: bool = False) -> Tensor:
    """``(1, C, H, W) -> (1, C, *size)``, interpolated; unchanged at its own size.

    Without antialiasing, which does not export, as the code of DeiT (arXiv:2012.12877) and of most models of transformers does it; with
    it as DINOv2's with registers (arXiv:2309.16588). Interpolated in float32 for half-precision tables.
    """
    if map_size(table) == size:
        return table
    resized = F.interpolate(at_least_float32(table), size=size, mode=mode, align_corners=False, antialias=antialias)
    return resized.to(table.dtype)


@part
def resize_table_as_timm(table: Tensor, size: tuple[int, int]) -> Tensor:
    """As :func:`resize_table` with ``antialias``, but always in float32, as timm does it.

    The two differ for larger sizes as well: PyTorch's antialiased bicubic is that of Pillow, another cubic.
    """
    if map_size(table) == size:
        return table
    resized = F.interpolate(table.float(), size=size, mode="bicubic", align_corners=False, antialias=True)
    return resized.to(table.dtype)


@part
def resize_table_as_dino(table: Tensor, size: tuple[int, int]) -> Tensor:
    """As :func:`resize_table`, but sampled as the code of DINO (arXiv:2104.14294) does it, for positions trained with it.

    It asks for the factor ``(size + 0.1) / own size``, so that rounding cannot lose a row; the places that are read then lie by that
    factor, a little off.
    """
    if map_size(table) == size:
        return table
    factors = [(side + 0.1) / own for side, own in zip(size, map_size(table), strict=True)]
    return F.interpolate(at_least_float32(table), scale_factor=factors, mode="bicubic", align_corners=False).to(
        table.dtype
    )


@part
def resize_table_as_vit_pytorch(table: Tensor, size: tuple[int, int]) -> Tensor:
    """As many places as ``size`` has from the start of the table, row by row: what vit-pytorch and CCT's code do, whatever lies where.

    Raises:
        ValueError: ``size`` has more places than the table.
    """
    height, width = size
    rows, columns = map_size(table)
    if height * width > rows * columns:
        raise ValueError(
            f"the table has {rows * columns} positions, too few for a grid {size}; resize it in another way"
        )
    places = rearrange(table, "b c h w -> b c (h w)").narrow(2, 0, height * width)
    return rearrange(places, "b c (h w) -> b c h w", h=height)


@part
def resize_offsets_as_beit(table: Tensor, size: tuple[int, int]) -> Tensor:
    """A table of offsets ``(1, C, 2h-1, 2w-1)`` for those of another grid, ``size`` = ``(2H-1, 2W-1)``: unchanged at its own size.

    The offsets that there are go to places whose distances grow from the middle by a constant factor, so that they reach the outermost of
    the new ones, and near ones stay near (authors' code of BEiT, arXiv:2106.08254). Between them it is interpolated linearly, as timm
    does it; the authors do it by a cubic of scipy.

    Raises:
        ValueError: a side is even, so that no offset is in the middle.
    """
    own = map_size(table)
    if own == size:
        return table
    if not all(side % 2 for side in (*own, *size)):
        raise ValueError(f"a table of offsets must have odd sides, got {own} for {size}")
    values = at_least_float32(table)
    rows, columns = (values.new_tensor(_growing(a, b)) for a, b in zip(own, size, strict=True))
    return torch.einsum("H h, b c h w, W w -> b c H W", rows, values, columns).to(table.dtype)


@cache
def _growing(own: int, size: int) -> list[list[float]]:
    """Weights ``(size, own)`` that read a side of ``own`` offsets, whose distances grow by a factor, at ``size`` offsets."""
    low, high = 1.01, 1.5  # the factor is found by halving, to the authors' precision
    factor = low
    while high - low > 1e-6:
        factor = (low + high) / 2
        low, high = (low, factor) if (1 - factor ** (own // 2)) / (1 - factor) > size // 2 else (factor, high)
    far = [sum(factor**j for j in range(i + 1)) for i in range(own // 2)]
    places = [*(-place for place in reversed(far)), 0.0, *far]
    weights = []
    for target in range(-(size // 2), size // 2 + 1):
        row, right = [0.0] * own, min(bisect_left(places, target), own - 1)
        left = max(right - 1, 0)
        share = 1.0 if right == left else min(max((target - places[left]) / (places[right] - places[left]), 0.0), 1.0)
        row[left] += 1 - share
        row[right] += share
        weights.append(row)
    return weights


@part
def resize_offsets_as_transformers(table: Tensor, size: tuple[int, int]) -> Tensor:
    """As transformers' BEiT resizes a table of offsets ``(1, C, 2h-1, 2w-1)``: linearly, and read as if it had ``2w-1`` rows.

    Its rows and columns are confused, in code that came from MiDaS (arXiv:2307.14460), so that offsets of a grid that is no square are
    scrambled, at their own size too. On squares it is plain interpolation.
    """
    height, width = map_size(table)
    if (height, width) == size and height == width:
        return table
    rows = rearrange(rearrange(table, "b c h w -> b c (h w)"), "b c (w h) -> b c w h", h=height)
    return F.interpolate(at_least_float32(rows), size=size, mode="bilinear", align_corners=False).to(table.dtype)


def grids_of_places(places: int) -> list[tuple[int, int]]:
    """The grids that have so many places, the nearest to a square first."""
    grids = [(height, places // height) for height in range(1, places + 1) if places % height == 0]
    return sorted(grids, key=lambda grid: abs(grid[0] - grid[1]))
