"""The grid: prefix tokens, maps, and sizes given as an int or a pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks.grid import (
    half_kernel,
    image_grid,
    num_prefix,
    require_no_prefix,
    split_prefix,
    to_map,
    to_pair,
    to_tokens,
)


def test_the_prefix_is_what_the_grid_leaves() -> None:
    x = torch.randn(2, 9, 4)
    assert num_prefix(x, (2, 3)) == 3
    assert num_prefix(x, (9,)) == 0
    assert num_prefix(x, (0, 0)) == 9
    prefix, patches = split_prefix(x, (2, 3))
    assert torch.equal(torch.cat([prefix, patches], dim=1), x)
    assert prefix.shape[1] == 3
    assert patches.data_ptr() == x[:, 3:].data_ptr()


def test_maps_are_row_major_views() -> None:
    x = torch.randn(2, 12, 5)
    image = to_map(x, (3, 4))
    assert image.shape == (2, 5, 3, 4)
    assert image.data_ptr() == x.data_ptr()
    assert image.is_contiguous(memory_format=torch.channels_last)
    for row in range(3):
        for column in range(4):
            assert torch.equal(image[:, :, row, column], x[:, 4 * row + column])
    tokens, grid = to_tokens(image)
    assert grid == (3, 4)
    assert tokens.data_ptr() == x.data_ptr()
    assert torch.equal(tokens, x)


def test_sizes_are_an_int_or_a_pair() -> None:
    assert to_pair(3) == (3, 3)
    assert to_pair((3, 4)) == (3, 4)
    assert to_pair([3, 4]) == (3, 4)
    assert to_pair(0, minimum=0) == (0, 0)


@pytest.mark.parametrize("size", [2.0, "3", (1,), (1, 2, 3), (1.5, 2), True, (True, 2), None])
def test_other_sizes_are_named(size: Any) -> None:
    with pytest.raises(TypeError, match=r"window must be an int or a \(height, width\) of ints, got"):
        to_pair(size, "window")


def test_messages_name_the_numbers() -> None:
    x = torch.zeros(1, 5, 2)
    with pytest.raises(ValueError, match=r"window must be at least 1, got \(2, 0\)"):
        to_pair((2, 0), "window")
    with pytest.raises(ValueError, match=r"x has 5 tokens, fewer than the 6 patches of grid \(2, 3\)"):
        num_prefix(x, (2, 3))
    with pytest.raises(ValueError, match=r"PEG needs tokens on an \(H, W\) grid, got grid \(5,\)"):
        image_grid((5,), "PEG")
    with pytest.raises(ValueError, match=r"Unfold takes no prefix tokens, got 1 before the patches of grid \(2, 2\)"):
        require_no_prefix(x, (2, 2), "Unfold")
    for even in (0, 2, -1):
        with pytest.raises(ValueError, match=f"kernel_size must be odd and positive, got {even}"):
            half_kernel(even)
    assert [half_kernel(k) for k in (1, 3, 7)] == [0, 1, 3]
