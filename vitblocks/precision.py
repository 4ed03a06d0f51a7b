"""Half precision is not enough for sums and small numbers."""

from __future__ import annotations

from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, to sum up in."""
    return x if x.itemsize >= 4 else x.float()
