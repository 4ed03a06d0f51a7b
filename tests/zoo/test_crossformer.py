"""CrossFormer and CrossFormer++."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks import Block, CrossFormer, OnMap, PerToken, WindowAttention, Windows
from vitblocks.zoo.crossformer import LongDistanceWindows

from .common import check_model


def tiny(**options: object) -> CrossFormer:
    sizes = {
        "num_classes": 5,
        "dim": (32, 64),
        "depth": (4, 2),
        "global_window_size": (2, 2),
        "local_window_size": 3,
        "cross_embed_kernel_sizes": ((4, 8), (2, 4)),
        "cross_embed_strides": (4, 2),
        "mlp_ratios": (2, 2),
    }
    return CrossFormer(**{**sizes, **options})


def partitions(model: CrossFormer) -> list[object]:
    return [module.windows for module in model.modules() if isinstance(module, WindowAttention)]


@pytest.mark.parametrize(("depth", "cooling"), [((2, 1), False), pytest.param((4, 1), True, marks=pytest.mark.slow)])
def test_does_what_every_model_does(depth: tuple[int, int], cooling: bool) -> None:
    model = tiny(depth=depth, dropout=0.1, drop_path=0.1, amplitude_cooling=cooling)
    check_model(model, torch.randn(2, 3, 56, 40), classes=5)


def test_short_and_long_distance_take_turns() -> None:
    short, long = Windows(3), LongDistanceWindows(3, 2)
    assert partitions(tiny()) == [short, long, short, long, short, long]


def test_a_size_for_each_stage() -> None:
    model = tiny(local_window_size=(4, 7), global_window_size=(3, 1))
    assert partitions(model)[3:] == [LongDistanceWindows(4, 3), Windows(7), LongDistanceWindows(7, 1)]


def test_long_distance_groups() -> None:
    """Tokens of a group lie an interval apart, and no more of them along a side than the group has."""
    places = torch.arange(12 * 12).reshape(1, -1, 1)
    groups = LongDistanceWindows(3, 2).split(places, (12, 12))[0, :, :, 0]
    assert groups.shape == (16, 9)
    assert groups[0].tolist() == [row * 12 + column for row in (0, 2, 4) for column in (0, 2, 4)]
    assert sorted(groups.flatten().tolist()) == list(range(144))


@pytest.mark.parametrize("grid", [(7, 7), (7, 20), (20, 6), (3, 3)])
def test_on_a_small_map_long_distance_is_short(grid: tuple[int, int]) -> None:
    long, short = LongDistanceWindows(7, 2), Windows(7)
    patches = torch.randn(2, grid[0] * grid[1], 3)
    windows = long.split(patches, grid)
    assert torch.equal(windows, short.split(patches, grid))
    assert torch.equal(long.join(windows, grid), patches)
    assert long.window(grid) == short.window(grid)


@pytest.mark.parametrize(("depth", "after"), [(2, []), (3, []), (4, [2]), (6, [2]), (18, [2, 5, 8, 11, 14])])
def test_where_cooling_layers_stand(depth: int, after: list[int]) -> None:
    kinds = [type(layer) for layer in tiny(depth=(depth, 1), amplitude_cooling=True).stages[0].layers]
    expected: list[type[nn.Module]] = []
    for i in range(depth):
        expected += [Block, OnMap, PerToken] if i in after else [Block]
    assert kinds == expected


def test_initial_weights() -> None:
    for module in tiny(dim=(128, 256)).modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() > 1000:
                assert 0.9 * 0.02 < module.weight.std() < 1.1 * 0.02
        if isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all()
            assert not module.bias.any()


def test_features_channels_and_heads() -> None:
    model = tiny(num_classes=0, channels=1, heads=(4, 8))
    assert model(torch.randn(2, 1, 24, 40)).shape == (2, 64)
    assert [m.heads for m in model.modules() if isinstance(m, WindowAttention)] == [4] * 4 + [8] * 2


def test_sizes_that_do_not_work_are_refused() -> None:
    model = tiny()
    assert [grid for _, grid in model.eval().forward_stages(torch.randn(1, 3, 30, 43))] == [(7, 10), (3, 5)]
    with pytest.raises(ValueError, match=r"\(1, 5\) is smaller than the kernel \(2, 2\)"):
        model(torch.randn(1, 3, 7, 20))
    with pytest.raises(ValueError, match="zip"):
        tiny(depth=(1, 1, 1))
