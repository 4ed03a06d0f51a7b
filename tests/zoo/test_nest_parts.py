"""NesT's own parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks.grid import to_map
from vitblocks.zoo.nest import BlockAggregation, SameMaxPool2d

DIM = 8


def test_block_aggregation_halves_and_rounds_up() -> None:
    down: Any = BlockAggregation(DIM, 5).double()
    x = torch.randn(1, 35, DIM, dtype=torch.float64)
    y, grid = down(x, (7, 5))
    assert grid == (4, 3)
    assert down.stride == (2, 2)
    maps = to_map(x, (7, 5))
    conv = down.conv[0](maps).permute(0, 2, 3, 1)
    normed = down.conv[1].norm(conv).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, SameMaxPool2d(3, 2)(normed).flatten(2).mT)


@pytest.mark.parametrize(("side", "rows"), [(4, [(0, 3), (2, 4)]), (5, [(0, 2), (1, 4), (3, 5)])])
def test_same_pooling_pads_more_at_the_bottom_and_right(side: int, rows: list[tuple[int, int]]) -> None:
    x = -torch.rand(1, 1, side, side)  # Below zero, so that padding with zeros would show.
    y = SameMaxPool2d(3, 2)(x)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(rows):
            assert y[0, 0, i, j] == x[0, 0, top:bottom, left:right].max()
