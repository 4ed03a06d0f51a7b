"""Padding that is carried as tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitblocks.testing import influence
from vitblocks.zoo.regionvit import (
    CarriedPadding,
    CarryPadding,
    DropPadding,
    PaddedRegionalAttention,
    RegionalAttention,
)

GRIDS = [(4, 6), (5, 7), (1, 2), (4, 5), (3, 6)]
WINDOW = (2, 3)


def regional_and_patches(grid: tuple[int, int], dim: int = 8) -> Tensor:
    regions = -(-grid[0] // WINDOW[0]) * -(-grid[1] // WINDOW[1])
    return torch.randn(2, regions + grid[0] * grid[1], dim, dtype=torch.float64)


@pytest.mark.parametrize("grid", GRIDS)
def test_drop_undoes_carry(grid: tuple[int, int]) -> None:
    x = regional_and_patches(grid)
    carried = CarryPadding(WINDOW)(x, grid)
    padded = CarriedPadding(WINDOW).padded(grid)
    assert carried.shape[1] == x.shape[1] + padded[0] * padded[1] - grid[0] * grid[1]
    assert torch.equal(DropPadding(WINDOW)(carried, grid), x)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_padded_map_has_the_patches_at_its_top_left(grid: tuple[int, int]) -> None:
    geometry = CarriedPadding(WINDOW)
    padding = -torch.arange(1.0, geometry.count(grid) + 1).reshape(1, -1, 1)
    patches = torch.arange(1.0, grid[0] * grid[1] + 1).reshape(1, -1, 1)
    whole = geometry.assemble(padding, patches, grid)
    image = whole.unflatten(1, geometry.padded(grid))
    assert torch.equal(image[:, : grid[0], : grid[1]].flatten(1, 2), patches)
    again, rest = geometry.take_apart(whole, grid)
    assert torch.equal(again, padding)
    assert torch.equal(rest, patches)


def pair() -> tuple[RegionalAttention, PaddedRegionalAttention]:
    right, published = RegionalAttention(8, 2, window=WINDOW), PaddedRegionalAttention(8, 2, window=WINDOW)
    published.load_state_dict(right.state_dict())
    return right.double(), published.double()


def test_equals_regional_attention_where_windows_fit() -> None:
    right, published = pair()
    x = regional_and_patches((4, 6))
    torch.testing.assert_close(published(x, (4, 6)), right(x, (4, 6)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(published(x, (0, 0)), right(x, (0, 0)), rtol=1e-12, atol=1e-12)


def test_padding_reaches_the_last_window_alone() -> None:
    grid = (5, 7)
    right, published = pair()
    x = regional_and_patches(grid)
    carried = CarryPadding(WINDOW)(x, grid)
    carried[:, 9 : 9 + CarriedPadding(WINDOW).count(grid)].normal_()
    difference = DropPadding(WINDOW)(published(carried, grid), grid) - right(x, grid)
    reached = (difference.abs().amax(dim=(0, 2)) > 1e-9).tolist()
    # The last of 3 x 3 windows holds one token of the map, at (4, 6).
    expected = [i == 8 for i in range(9)] + [(row, column) == (4, 6) for row in range(5) for column in range(7)]
    assert reached == expected


def test_who_meets_in_the_last_window() -> None:
    """One window of 2 x 3 on a map of 1 x 2: padding is (0, 2) at the right, (1, 0), (1, 1), (1, 2) below."""
    _, published = pair()
    x = CarryPadding(WINDOW)(regional_and_patches((1, 2)), (1, 2))
    x[:, 1:5].normal_()
    regional, right, below0, below1, corner, patch0, patch1 = range(7)
    seen = influence(published, x, (1, 2))
    in_rows, in_columns = {regional, right, patch0, patch1}, {regional, below0, below1, patch0, patch1}
    meets = {regional: in_rows | in_columns, patch0: in_rows | in_columns, patch1: in_rows | in_columns}
    meets |= {right: in_rows, below0: in_columns, below1: in_columns, corner: {corner}}
    assert [set(row.nonzero().flatten().tolist()) for row in seen] == [meets[i] for i in range(7)]


def test_tokens_without_their_padding_are_refused() -> None:
    _, published = pair()
    with pytest.raises(ValueError, match="put CarryPadding before"):
        published(regional_and_patches((5, 7)), (5, 7))
