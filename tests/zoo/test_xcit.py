"""XCiT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import ClassAttention, CrossCovarianceAttention, Mlp, RelativeBias, XCiT, record_attention
from vitblocks.zoo.xcit import NormedClassBlock

from .common import check_model


def tiny(**options: Any) -> XCiT:
    return XCiT(**{"patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32, **options})


@pytest.mark.parametrize("patch_size", [pytest.param(8, marks=pytest.mark.slow), 16])
def test_does_what_every_model_does(patch_size: int) -> None:
    model = tiny(patch_size=patch_size, drop_path=0.1, dropout=0.1, norm_patches=patch_size == 8)
    check_model(model, torch.randn(2, 3, 32, 48), classes=5)


def test_other_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="patch_size must be one of 8, 16, got 4"):
        tiny(patch_size=4)


def test_channels_attend_to_channels() -> None:
    model = tiny().eval()
    with record_attention(model) as records:
        model(torch.rand(2, 3, 32, 48))
    assert [tuple(record.weights.shape) for record in records] == [(2, 1, 2, 8, 8)] * 2 + [(2, 1, 2, 1, 25)] * 2
    for name, value in (("position_bias", RelativeBias(2, 4)), ("rotary", nn.Identity())):
        with pytest.raises(ValueError, match=f"{name} must be None"):
            CrossCovarianceAttention(16, 2, **{name: value})
    with pytest.raises(ValueError, match="value_dim must be the channels of a key"):
        CrossCovarianceAttention(16, 2, value_dim=3)


@pytest.mark.parametrize("norm_patches", [True, False])
def test_class_blocks_double_their_patches(norm_patches: bool) -> None:
    """As in the authors' code: normed values are added, then the tokens to themselves."""
    block = NormedClassBlock(8, ClassAttention(8, 2), Mlp(8), norm_patches=norm_patches).double().eval()
    x = torch.randn(2, 1 + 6, 8, dtype=torch.float64)
    patches = x[:, 1:] + block.norm1(x[:, 1:])
    patches = block.norm2(patches) if norm_patches else patches
    torch.testing.assert_close(block(x, (2, 3))[:, 1:], 2 * patches)
