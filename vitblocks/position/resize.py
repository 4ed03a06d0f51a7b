"""Resize a table of positions in two dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_table(table: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """``(1, C, H, W) -> (1, C, *size)``, interpolated without antialiasing, which does not export; unchanged at its own size.

    Interpolated in float32 for half-precision tables.
    """
    if table.shape[-2:] == torch.Size(size):
        return table
    exact = table if table.itemsize >= 4 else table.float()
    return F.interpolate(exact, size=size, mode=mode, align_corners=False).to(table.dtype)
