"""Resize a table of positions in two dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..grid import map_size
from ..norm import at_least_float32


def resize_table(table: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """``(1, C, H, W) -> (1, C, *size)``, interpolated without antialiasing, which does not export; unchanged at its own size.

    Interpolated in float32 for half-precision tables.
    """
    if map_size(table) == size:
        return table
    return F.interpolate(at_least_float32(table), size=size, mode=mode, align_corners=False).to(table.dtype)


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
