"""Resize a table of positions in two dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

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


def grids_of_places(places: int) -> list[tuple[int, int]]:
    """The grids that have so many places, the nearest to a square first."""
    grids = [(height, places // height) for height in range(1, places + 1) if places % height == 0]
    return sorted(grids, key=lambda grid: abs(grid[0] - grid[1]))
