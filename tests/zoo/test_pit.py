"""PiT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import GlobalAttention, PiT

from .common import check_model


def tiny(**options: Any) -> PiT:
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 8, "heads": 2, "mlp_dim": 32}
    return PiT(**sizes | {"depth": (1, 2, 1)} | options)


def test_does_what_every_model_does() -> None:
    check_model(tiny(drop_path=0.1, dropout=0.1, emb_dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_channels_heads_and_feed_forward_double_from_stage_to_stage() -> None:
    blocks = [block for _, block in tiny().blocks()]
    attentions = [module for block in blocks for module in block.modules() if isinstance(module, GlobalAttention)]
    assert [(attn.dim, attn.heads, attn.head_dim) for attn in attentions] == [
        (8, 2, 4),
        (16, 4, 4),
        (16, 4, 4),
        (32, 8, 4),
    ]
    assert [block.get_submodule("mlp.fc1").out_features for block in blocks] == [32, 64, 64, 128]


def test_patches_overlap_by_half_and_the_map_is_halved() -> None:
    maps = tiny().feature_maps(torch.randn(1, 3, 32, 48))
    assert [(f.map.shape[1:], f.stride) for f in maps] == [
        ((8, 7, 11), (4, 4)),
        ((16, 4, 6), (8, 8)),
        ((32, 2, 3), (16, 16)),
    ]
    side_by_side = tiny(stride=8).feature_maps(torch.randn(1, 3, 32, 48))
    assert [f.map.shape[2:] for f in side_by_side] == [(4, 6), (2, 3), (1, 2)]


def test_positions_are_for_patches_alone() -> None:
    """The class token enters the blocks as it is stored."""
    model = tiny().eval()
    entered = []
    block = next(block for _, block in model.blocks())
    block.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    model(torch.randn(2, 3, 32, 32))
    token = model.get_parameter("stages.0.layers.2.token")
    torch.testing.assert_close(entered[0][:, :1], token.expand(2, -1, -1), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(32, 64), (41, 35), (8, 8), (9, 30)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert tiny(channels=2).eval()(torch.randn(1, 2, *size)).isfinite().all()


@pytest.mark.parametrize("depth", [(2,), (1, 1), (1, 1, 1, 1)])
def test_any_number_of_stages(depth: tuple[int, ...]) -> None:
    model = tiny(depth=depth)
    assert len(list(model.blocks())) == sum(depth)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_initial_weights() -> None:
    """Token and positions a truncated normal of 0.02; Linears and convolutions PyTorch's default, uniform within fan_in ** -0.5."""
    model = tiny(dim=64, num_classes=50)
    for name in ("stages.0.layers.2.token", "stages.0.layers.0.table"):
        assert 0.7 * 0.02 < model.get_parameter(name).std() < 1.3 * 0.02
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            bound = module.weight[0].numel() ** -0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound, name
            assert module.bias is not None
            assert module.bias.any(), name


def test_features_without_classes() -> None:
    assert tiny(num_classes=0)(torch.randn(2, 3, 32, 32)).shape == (2, 32)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(8, 8\) or more"):
        tiny(image_size=(32, 6))
    with pytest.raises(ValueError, match=r"\(8, 8\) or more"):
        tiny()(torch.randn(1, 3, 32, 6))
    with pytest.raises(ValueError, match="depth"):
        tiny(depth=())
    with pytest.raises(ValueError, match="3 heads"):
        tiny(heads=3)


def test_sizes_of_each_stage() -> None:
    model = tiny(dim=(8, 24, 24), heads=(2, 3, 4), mlp_dim=(16, 20, 30))
    blocks: list[Any] = [block for _, block in model.blocks()]
    assert [(block.attn.dim, block.attn.heads, block.mlp.fc1.out_features) for block in blocks] == [
        (8, 2, 16),
        (24, 3, 20),
        (24, 3, 20),
        (24, 4, 30),
    ]
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)
    with pytest.raises(ValueError, match="heads must be an int or one for each of 3 levels"):
        tiny(heads=(2, 3))
    with pytest.raises(ValueError, match="out_dim must be a multiple of dim 8"):
        tiny(dim=(8, 20, 20), heads=(2, 2, 2))
