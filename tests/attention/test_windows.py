"""Partitions against a brute-force account of which token goes where."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from vitblocks.attention import (
    DilatedWindows,
    Partition,
    ShiftedWindows,
    WindowAttention,
    Windows,
)
from vitblocks.attention.windows import PADDING, labels_mask
from vitblocks.grid import to_map, to_tokens

sides = st.integers(1, 9)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))


@st.composite
def partitions(draw: st.DrawFn) -> Partition:
    size = draw(sizes)
    kind = draw(st.sampled_from(["plain", "shifted", "dilated", "sub-grids"]))
    if kind == "plain":
        return Windows(size)
    if kind == "shifted":
        shift = (draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1)))
        return ShiftedWindows(size, shift)
    return DilatedWindows(size if kind == "dilated" else None, draw(sizes))


def ids(grid: tuple[int, int]) -> Tensor:
    """Tokens that carry their own number, from 1: padding is 0."""
    return torch.arange(1, grid[0] * grid[1] + 1).reshape(1, -1, 1).double()


@settings(max_examples=150, deadline=None)
@given(partitions(), sides, sides, st.integers(1, 3))
def test_join_undoes_split(partition: Partition, height: int, width: int, batch: int) -> None:
    grid = (height, width)
    patches = torch.randn(batch, height * width, 2)
    windows = partition.split(patches, grid)
    rows, columns = partition.window(grid)
    assert windows.shape[0] == batch
    assert windows.shape[2:] == (rows * columns, 2)
    assert torch.equal(partition.join(windows, grid), patches)


@settings(max_examples=150, deadline=None)
@given(partitions(), sides, sides)
def test_every_token_lies_in_one_window_and_labels_mark_the_padding(
    partition: Partition, height: int, width: int
) -> None:
    grid = (height, width)
    where = partition.split(ids(grid), grid)[0, :, :, 0]
    assert sorted(where[where > 0].tolist()) == list(range(1, height * width + 1))
    labels = partition.labels(grid)
    if labels is None:
        assert (where > 0).all()
    else:
        assert labels.shape == where.shape
        assert torch.equal(labels == PADDING, where == 0)
        # Padding meets itself, so that no row of the mask is empty.
        assert labels_mask(labels, torch.float64).isfinite().any(dim=-1).all()


def meets(partition: Partition, grid: tuple[int, int]) -> set[tuple[int, int]]:
    """Which pairs of tokens a partition lets meet."""
    where = partition.split(ids(grid), grid)[0, :, :, 0].long().tolist()
    labels = partition.labels(grid)
    names = [[0] * len(window) for window in where] if labels is None else labels.tolist()
    pairs = set()
    for window, label in zip(where, names, strict=True):
        for i, j in product(range(len(window)), repeat=2):
            if window[i] and window[j] and label[i] == label[j]:
                pairs.add((window[i] - 1, window[j] - 1))
    return pairs


@settings(max_examples=100, deadline=None)
@given(sizes, st.data(), sides, sides)
def test_shifted_windows_begin_at_the_shift(
    size: tuple[int, int], data: st.DataObject, height: int, width: int
) -> None:
    shift = tuple(data.draw(st.integers(0, s - 1)) for s in size)
    grid = (height, width)
    # Along a side that one window covers, nothing is shifted.
    begin = [s if w < side else 0 for s, w, side in zip(shift, size, grid, strict=True)]
    expected = set()
    for i, j in product(range(height * width), repeat=2):
        query, key = divmod(i, width), divmod(j, width)
        if all((q - b) // w == (k - b) // w for q, k, b, w in zip(query, key, begin, size, strict=True)):
            expected.add((i, j))
    assert meets(ShiftedWindows(size, (shift[0], shift[1])), grid) == expected
    if not any(begin):
        assert meets(Windows(size), grid) == expected


@settings(max_examples=100, deadline=None)
@given(st.none() | sizes, sizes, sides, sides)
def test_dilated_windows_gather_tokens_dilation_apart(
    size: tuple[int, int] | None, dilation: tuple[int, int], height: int, width: int
) -> None:
    grid = (height, width)
    steps = [min(step, side) for step, side in zip(dilation, grid, strict=True)]
    expected = set()
    for i, j in product(range(height * width), repeat=2):
        query, key = divmod(i, width), divmod(j, width)
        apart = all((q - k) % step == 0 for q, k, step in zip(query, key, steps, strict=True))
        close = size is None or all(
            q // step // w == k // step // w for q, k, step, w in zip(query, key, steps, size, strict=True)
        )
        if apart and close:
            expected.add((i, j))
    assert meets(DilatedWindows(size, dilation), grid) == expected


def test_windows_and_their_tokens_are_row_major() -> None:
    windows = Windows((2, 3)).split(ids((4, 6)), (4, 6))[0, :, :, 0].tolist()
    assert windows[0] == [1, 2, 3, 7, 8, 9]
    assert windows[1] == [4, 5, 6, 10, 11, 12]
    assert windows[2] == [13, 14, 15, 19, 20, 21]


def test_dilated_windows_are_row_major_by_sub_grid() -> None:
    windows = DilatedWindows(None, 2).split(ids((4, 4)), (4, 4))[0, :, :, 0].tolist()
    assert windows == [[1, 3, 9, 11], [2, 4, 10, 12], [5, 7, 13, 15], [6, 8, 14, 16]]


def test_half_the_window_is_the_default_shift() -> None:
    assert ShiftedWindows(7).shift == (3, 3)
    assert ShiftedWindows((4, 5)).shift == (2, 2)


def test_masks_have_the_dtype_asked_for_and_are_left_out_where_all_meet() -> None:
    like = torch.zeros(1, dtype=torch.bfloat16)
    assert Windows(2).mask((4, 6), like) is None
    mask = Windows(2).mask((3, 5), like)
    assert mask is not None
    assert mask.dtype == torch.bfloat16
    assert mask.shape == (6, 1, 4, 4)


def test_equal_partitions_are_equal() -> None:
    assert Windows(7) == Windows((7, 7))
    assert hash(ShiftedWindows(7)) == hash(ShiftedWindows(7, 3))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        Windows(0)
    with pytest.raises(TypeError, match="window must be an int or a"):
        Windows(2.5)
    with pytest.raises(ValueError, match=r"shift must be smaller than the window \(2, 3\), got \(2, 1\)"):
        ShiftedWindows((2, 3), (2, 1))
    with pytest.raises(ValueError, match="dilation must be at least 1"):
        DilatedWindows(2, (0, 1))
    with pytest.raises(ValueError, match=r"windows needs tokens on an \(H, W\) grid, got grid \(4,\)"):
        Windows(2).split(torch.zeros(1, 4, 1), (4,))
    with pytest.raises(ValueError, match="padding must be one of 'masked', 'attended', got 'zeros'"):
        Windows(2, padding="zeros")
    with pytest.raises(ValueError, match="padding must be one of 'masked', 'attended', got None"):
        DilatedWindows(2, padding=None)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["plain", "shifted", "dilated"]), sizes, st.data(), sides, sides)
def test_padding_that_is_attended_to_is_zeros_on_a_larger_map(
    kind: str, size: tuple[int, int], data: st.DataObject, height: int, width: int
) -> None:
    """Attention on the map, and on the map with zeros around it that windows divide, are the same."""
    shift = tuple(data.draw(st.integers(0, s - 1)) for s in size)
    windows: Partition = {
        "plain": Windows(size, padding="attended"),
        "shifted": ShiftedWindows(size, (shift[0], shift[1]), padding="attended"),
        "dilated": DilatedWindows(size, 2, padding="attended"),
    }[kind]
    attn = WindowAttention(4, 2, windows=windows).double()
    x = torch.randn(2, height * width, 4, dtype=torch.float64)
    rows, columns = windows.padded((height, width))
    larger = torch.nn.functional.pad(to_map(x, (height, width)), (0, columns - width, 0, rows - height))
    expected = to_map(attn(to_tokens(larger)[0], (rows, columns)), (rows, columns))[:, :, :height, :width]
    torch.testing.assert_close(attn(x, (height, width)), to_tokens(expected)[0])
