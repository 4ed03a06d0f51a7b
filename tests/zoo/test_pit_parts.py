"""PiT's own part."""

from __future__ import annotations

import pytest
import torch

from vitblocks.zoo.pit import PoolingDownsample

DIM = 8


def test_pooling_downsample_keeps_channels_apart() -> None:
    """A channel of the input reaches two of the output."""
    down = PoolingDownsample(DIM, 2 * DIM).double()
    x = torch.zeros(1, 1 + 16, DIM, dtype=torch.float64)
    base, _ = down(x, (4, 4))
    x[:, 1:, 3] = 1.0
    changed = (down(x, (4, 4))[0] != base)[0, 1:].any(dim=0)
    assert changed.nonzero().flatten().tolist() == [6, 7]


def test_channels_multiply_by_whole_numbers() -> None:
    with pytest.raises(ValueError, match="out_dim must be a multiple of dim 8, got 12"):
        PoolingDownsample(8, 12)
