"""NesT."""

from __future__ import annotations

import pytest
import torch

from vitblocks import LearnedPosition, NesT
from vitblocks.zoo.nest import SameMaxPool2d

from .common import check_model


def tiny(**options: object) -> NesT:
    sizes = {"image_size": 32, "patch_size": 4, "dim": 8, "heads": 2, "num_hierarchies": 3, "block_repeats": (1, 1, 2)}
    return NesT(**{**sizes, "num_classes": 5, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_levels_double_unless_given_one_by_one() -> None:
    assert tiny(block_repeats=1)(torch.randn(1, 3, 32, 32)).shape == (1, 5)
    assert [feature.map.shape[1] for feature in tiny().feature_maps(torch.randn(1, 3, 32, 32))] == [8, 16, 32]
    given = tiny(dim=(8, 12, 20), heads=(1, 3, 5))
    assert [feature.map.shape[1] for feature in given.feature_maps(torch.randn(1, 3, 32, 32))] == [8, 12, 20]
    with pytest.raises(ValueError, match="3 levels"):
        tiny(heads=(1, 2))


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (40, 36), (16, 16)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert tiny().eval()(torch.randn(1, 3, *size)).isfinite().all()


def test_patches_must_divide_into_blocks() -> None:
    with pytest.raises(ValueError, match="divides by 4"):
        tiny(image_size=40)


def test_initial_weights() -> None:
    model = tiny(dim=64, heads=2)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" not in name:
            assert 0.8 * 0.02 < parameter.std() < 1.2 * 0.02, name
    assert any(isinstance(module, LearnedPosition) for module in model.modules())


@pytest.mark.parametrize("side", [4, 5, 6, 7, 8])
def test_same_pooling_covers_every_pixel(side: int) -> None:
    """Sizes round up, and the padding is never the maximum."""
    pooled = SameMaxPool2d(3, 2)(-torch.rand(1, 1, side, side) - 1)
    assert pooled.shape[2:] == (-(-side // 2), -(-side // 2))
    assert pooled.isfinite().all()
    assert pooled.max() <= -1


def test_same_pooling_pads_the_far_side() -> None:
    image = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    assert SameMaxPool2d(3, 2)(image)[0, 0, 0].tolist() == [2.0, 3.0]


def test_without_qkv_bias() -> None:
    assert not any(key.endswith("qkv.bias") for key in tiny(qkv_bias=False).state_dict())
