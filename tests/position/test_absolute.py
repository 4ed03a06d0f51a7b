"""Positions that are added to the tokens: learned, sine, and by a convolution."""

from __future__ import annotations

from math import cos, sin
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitblocks.grid import Grid
from vitblocks.position import PEG, LearnedPosition, SinePosition1d, SinePosition2d
from vitblocks.position.resize import (
    resize_table,
    resize_table_as_dino,
    resize_table_as_timm,
    resize_table_as_vit_pytorch,
)
from vitblocks.position.sine import sine_1d, sine_2d

DIM = 8


def tokens(grid: Grid, prefix: int = 0) -> Tensor:
    return torch.randn(2, prefix + grid[0] * grid[1], DIM)


def test_learned_positions_are_added_row_major_at_their_own_grid() -> None:
    layer, x = LearnedPosition(DIM, (3, 5), num_prefix=2), tokens((3, 5), 2)
    assert torch.equal(layer(x, (3, 5)), x + layer.table)


@pytest.mark.parametrize("grid", [(2, 5), (6, 4), (3, 4), (7, 9)])
def test_learned_positions_are_resized_in_two_dimensions(grid: tuple[int, int]) -> None:
    layer, x = LearnedPosition(DIM, (3, 5), num_prefix=1), tokens(grid, 1)
    image = layer.table[:, 1:].mT.reshape(1, DIM, 3, 5)
    resized = F.interpolate(image, size=grid, mode="bicubic").flatten(2).mT
    expected = x + torch.cat([layer.table[:, :1], resized], dim=1)
    torch.testing.assert_close(layer(x, grid), expected)


def test_a_resize_keeps_rows_and_columns_apart() -> None:
    """A table that depends on the row alone does so at every size."""
    layer = LearnedPosition(1, (4, 4))
    with torch.no_grad():
        layer.table.copy_(torch.arange(4.0).repeat_interleave(4)[None, :, None])
    rows = layer.positions((8, 6)).detach().unflatten(1, (8, 6))[0, :, :, 0]
    torch.testing.assert_close(rows, rows[:, :1].expand(8, 6))
    assert (rows[:, 0].diff() > 0).all()


def test_learned_positions_start_small() -> None:
    assert 0.015 < LearnedPosition(64, 16).table.std() < 0.025


@pytest.mark.parametrize("make", [LearnedPosition, SinePosition1d, SinePosition2d])
def test_prefix_tokens_without_a_position_pass_by(make: Any) -> None:
    layer, x = make(DIM, (3, 5)), tokens((3, 5), 4)
    y = layer(x, (3, 5))
    assert torch.equal(y[:, :4], x[:, :4])
    torch.testing.assert_close(y[:, 4:], layer(x[:, 4:], (3, 5)))


@pytest.mark.parametrize("make", [LearnedPosition, SinePosition1d, SinePosition2d])
def test_other_prefix_counts_than_the_table_has_are_named(make: Any) -> None:
    with pytest.raises(ValueError, match=r"num_prefix=2, x carries 3 prefix token\(s\) before grid \(3, 5\)"):
        make(DIM, (3, 5), num_prefix=2)(tokens((3, 5), 3), (3, 5))


def test_1d_sines_are_the_formula() -> None:
    expected = [[(sin if c % 2 == 0 else cos)(p / 10000 ** ((c - c % 2) / DIM)) for c in range(DIM)] for p in range(7)]
    torch.testing.assert_close(sine_1d(7, DIM), torch.tensor(expected, dtype=torch.float64))


def test_2d_sines_are_the_formula() -> None:
    """Quarters of the channels: sine and cosine of the column, sine and cosine of the row."""
    expected = []
    for row in range(3):
        for column in range(5):
            place = []
            for side in (column, row):
                for wave in (sin, cos):
                    place += [wave(side / 10000 ** (i / (DIM // 4))) for i in range(DIM // 4)]
            expected.append(place)
    torch.testing.assert_close(sine_2d((3, 5), DIM), torch.tensor(expected, dtype=torch.float64))


def test_sine_positions_count_prefix_tokens_as_said() -> None:
    """Along the sequence they come first; in two dimensions they have none."""
    along = SinePosition1d(DIM, (2, 3), num_prefix=1)
    torch.testing.assert_close(along.table[0], sine_1d(7, DIM).float())
    flat = SinePosition2d(DIM, (2, 3), num_prefix=1)
    torch.testing.assert_close(flat.table[0, 1:], sine_2d((2, 3), DIM).float())
    assert (flat.table[0, 0] == 0).all()


@pytest.mark.parametrize("make", [SinePosition1d, SinePosition2d])
def test_sine_positions_compute_other_grids(make: Any) -> None:
    layer = make(DIM, (3, 5), num_prefix=1)
    assert torch.equal(layer.positions((4, 2)), make(DIM, (4, 2), num_prefix=1).table)
    assert list(layer.state_dict()) == ["table"]
    assert not list(layer.parameters())


def test_peg_adds_a_depthwise_convolution() -> None:
    layer, x = PEG(DIM, 5), tokens((3, 5), 1)
    image = x[:, 1:].mT.reshape(2, DIM, 3, 5)
    update = F.conv2d(image, layer.conv.weight, layer.conv.bias, padding=2, groups=DIM)
    expected = torch.cat([x[:, :1], x[:, 1:] + update.flatten(2).mT], dim=1)
    torch.testing.assert_close(layer(x, (3, 5)), expected)
    assert torch.equal(layer(x[:, :1], (0, 0)), x[:, :1])
    assert PEG(DIM, bias=False).conv.bias is None


def test_tables_of_half_precision_are_resized_in_single() -> None:
    table = torch.randn(1, 2, 4, 4).bfloat16()
    resized = resize_table(table, (7, 5))
    assert resized.dtype == torch.bfloat16
    assert torch.equal(resized, resize_table(table.float(), (7, 5)).bfloat16())
    assert resize_table(table, (4, 4)) is table


def test_dinos_resize_reads_places_by_its_own_factor() -> None:
    table = torch.randn(1, 2, 4, 4)
    expected = F.interpolate(table, scale_factor=((7 + 0.1) / 4, (5 + 0.1) / 4), mode="bicubic")
    resized = resize_table_as_dino(table, (7, 5))
    assert resized.shape == (1, 2, 7, 5)
    assert torch.equal(resized, expected)
    assert not torch.allclose(resized, resize_table(table, (7, 5)))
    layer, x = LearnedPosition(2, 4, resize=resize_table_as_dino), torch.zeros(1, 35, 2)
    image = layer.table.mT.reshape(1, 2, 4, 4)
    torch.testing.assert_close(layer(x, (7, 5)), resize_table_as_dino(image, (7, 5)).flatten(2).mT)


def test_vit_pytorchs_reading_takes_the_first_places_in_their_order() -> None:
    table = torch.arange(24.0).reshape(1, 2, 3, 4)
    read = resize_table_as_vit_pytorch(table, (2, 5))
    assert torch.equal(read.flatten(2), table.flatten(2)[..., :10])
    assert read.shape == (1, 2, 2, 5)
    with pytest.raises(ValueError, match=r"12 positions, too few for a grid \(2, 7\)"):
        resize_table_as_vit_pytorch(table, (2, 7))


def test_timms_resize_is_antialiased_in_single() -> None:
    table = torch.randn(1, 2, 8, 6, dtype=torch.float64)
    resized = resize_table_as_timm(table, (3, 4))
    expected = F.interpolate(table.float(), (3, 4), mode="bicubic", antialias=True)
    assert resized.dtype == torch.float64
    assert torch.equal(resized, expected.double())
    assert not torch.allclose(resized, resize_table(table, (3, 4)))
    assert resize_table_as_timm(table, (8, 6)) is table
    layer, x = LearnedPosition(2, (8, 6), resize=resize_table_as_timm), torch.zeros(1, 12, 2)
    image = layer.table.mT.reshape(1, 2, 8, 6)
    torch.testing.assert_close(layer(x, (3, 4)), resize_table_as_timm(image, (3, 4)).flatten(2).mT)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd and positive, got 4"):
        PEG(DIM, 4)
    with pytest.raises(ValueError, match="dim must be a multiple of 4 for 2-D sine positions, got 6"):
        SinePosition2d(6, 3)
    with pytest.raises(ValueError, match="grid must be at least 1, got 0"):
        LearnedPosition(DIM, 0)
