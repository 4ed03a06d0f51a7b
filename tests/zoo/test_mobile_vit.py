"""MobileViT."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks import Block, MobileViT
from vitblocks.embed.inverted_residual import InvertedResidual, make_divisible
from vitblocks.zoo.mobile_vit import Interleaved

from .common import check_model


def tiny(**options: object) -> MobileViT:
    sizes = {
        "image_size": 64,
        "dims": (8, 12, 16),
        "channels": (8, 8, 8, 8, 16, 16, 16, 16, 24, 24, 32),
        "num_classes": 5,
        "expansion": 2,
        "depths": (1, 1, 1),
    }
    return MobileViT(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(drop_path=0.1, dropout=0.1), torch.randn(2, 3, 64, 64), classes=5)


@pytest.mark.parametrize("size", [(64, 96), (96, 96), (50, 70)])
def test_maps_that_do_not_divide_are_resized(size: tuple[int, int]) -> None:
    assert tiny().eval()(torch.randn(1, 3, *size)).isfinite().all()


def test_numbers_of_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="channels must be 11"):
        tiny(channels=(8, 8))
    with pytest.raises(ValueError, match="dims must be 3"):
        tiny(dims=(8, 8))


def test_features_and_image_channels() -> None:
    model = tiny(num_classes=0, image_channels=1).eval()
    assert model(torch.randn(2, 1, 64, 64)).shape == (2, 32)


def test_inverted_residual_adds_its_input_only_where_it_can() -> None:
    assert InvertedResidual(8, 8).has_shortcut
    assert not InvertedResidual(8, 8, stride=2).has_shortcut
    assert not InvertedResidual(8, 16).has_shortcut
    assert [make_divisible(c) for c in (4, 12, 19, 21, 96)] == [8, 16, 24, 24, 96]


def test_initial_weights() -> None:
    for module in tiny().modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 500:
            expected = (2 / (module.weight[0, 0].numel() * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.2)
        if isinstance(module, nn.Linear) and module.weight.numel() > 500:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.2)
            assert module.bias is None or not module.bias.any()


def test_sizes_of_each_stage() -> None:
    model = tiny(heads=(2, 4, 1), expansion=(1, 2, 3, 4, 2), patch_sizes=(2, (2, 4), 1), repeats=(1, 2, 2, 1, 1))
    heads = [{block.attn.heads for block in stage.modules() if isinstance(block, Block)} for stage in model.stages[2:]]
    assert heads == [{2}, {4}, {1}]
    assert [part.dilation for part in model.modules() if isinstance(part, Interleaved)] == [(2, 2), (2, 4), (1, 1)]
    assert [sum(isinstance(part, InvertedResidual) for part in stage.modules()) for stage in model.stages] == [
        1,
        2,
        2,
        1,
        1,
    ]
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 5)
    with pytest.raises(ValueError, match="patch_sizes must be 3 numbers"):
        tiny(patch_sizes=(2, 2))
    with pytest.raises(ValueError, match="repeats must be 5 numbers"):
        tiny(repeats=(1, 2, 3))
    with pytest.raises(ValueError, match="repeats must be at least 1 in the stages that halve the map"):
        tiny(repeats=(1, 0))
    with pytest.raises(ValueError, match="expansion must be a number or 5 of them"):
        tiny(expansion=(1, 2))
