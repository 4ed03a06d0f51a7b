"""DeepViT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import Block, DeepViT, ReAttend, SoftmaxAttend
from vitblocks.attention import GlobalAttention
from vitblocks.attention.talking_heads import HeadMix
from vitblocks.testing import check_layer
from vitblocks.zoo.deepvit import RescaledBlock, deepvit_with_stem

from .common import check_model

SIZES: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "heads": 2, "mlp_dim": 24}


def tiny(**options: Any) -> DeepViT:
    return DeepViT(**{**SIZES, "depth": 2, **options})


def tiny_with_stem(**options: Any) -> DeepViT:
    sizes = {**SIZES, "depth": 3, "re_attention_depth": 1, "weight_scale": 8**-0.5, "rescale": 0.5}
    return deepvit_with_stem(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(dropout=0.1, emb_dropout=0.1, drop_path=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_with_the_stem_too() -> None:
    check_model(tiny_with_stem(image_size=(32, 48)), torch.randn(2, 3, 32, 48), classes=5)


def attends(model: vitblocks.Model) -> list[type]:
    return [type(block.attn.attend) for _, block in model.blocks()]


def test_only_the_last_blocks_re_attend_where_asked() -> None:
    assert attends(tiny(depth=3)) == [ReAttend] * 3
    assert attends(tiny(depth=3, re_attention_depth=0)) == [SoftmaxAttend] * 3
    assert attends(tiny_with_stem()) == [SoftmaxAttend, SoftmaxAttend, ReAttend]
    with pytest.raises(ValueError, match="re_attention_depth must lie between 0 and depth 2, got 3"):
        tiny(re_attention_depth=3)


def test_published_models_with_the_stem_re_attend_late() -> None:
    """The authors' lists: from block 11 of 16, and from block 20 of 32. The smaller scales the weights by head_dim ** -0.5."""
    with torch.device("meta"):
        small, large = vitblocks.create_model("deepvit_s"), vitblocks.create_model("deepvit_l")
    assert attends(small) == [SoftmaxAttend] * 11 + [ReAttend] * 5
    assert attends(large) == [SoftmaxAttend] * 20 + [ReAttend] * 12
    scales = [{m.weight_scale for m in model.modules() if isinstance(m, ReAttend)} for model in (small, large)]
    assert scales == [{(396 // 12) ** -0.5}, {1.0}]
    assert all(isinstance(block, RescaledBlock) for _, block in small.blocks())


def test_rescaling_is_a_gain_on_the_branches() -> None:
    """A norm forgets the scale of what it reads, so that all that remains is the division of what comes out."""
    norm = vitblocks.layer_norm(0.0)
    attn, mlp = GlobalAttention(16, 2), vitblocks.Mlp(16, 24)
    rescaled, plain = RescaledBlock(16, attn, mlp, scale=0.5, norm=norm), Block(16, attn, mlp, norm=norm)
    x = torch.randn(2, 9, 16)
    for module in (attn.proj, mlp.fc2):
        module.register_forward_hook(double)
    expected = plain(x, (3, 3))
    for module in (attn.proj, mlp.fc2):
        module._forward_hooks.clear()
    torch.testing.assert_close(rescaled(x, (3, 3)), expected)
    with pytest.raises(ValueError, match="scale must be positive"):
        RescaledBlock(16, attn, mlp, scale=0.0)


def double(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return 2 * output


@pytest.mark.parametrize("size", [(64, 32), (16, 72)])
def test_other_sizes_channels_and_features(size: tuple[int, int]) -> None:
    model = tiny(channels=2, num_classes=0).eval()
    assert model(torch.randn(2, 2, *size)).shape == (2, 16)


def test_the_stem_rounds_odd_sides_up() -> None:
    model = tiny_with_stem(image_size=32).eval()
    assert [grid for _, grid in model.forward_stages(torch.randn(1, 3, 31, 47))] == [(4, 6)]
    with pytest.raises(ValueError, match=r"\(24, 32\) or \(32, 32\)"):
        model(torch.randn(1, 3, 29, 32))


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(24, 32\) or \(32, 32\)"):
        tiny(image_size=(30, 32))
    with pytest.raises(ValueError, match="3 heads"):
        tiny(heads=3)


def test_initial_weights() -> None:
    model = tiny_with_stem(dim=64, mlp_dim=192, heads=8, re_attention_depth=3)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert 0.018 < module.weight.std() < 0.022 or module.weight.numel() < 1000
            assert module.weight.abs().max() <= 2
            assert not module.bias.any()
        if isinstance(module, HeadMix):
            # A 1x1 convolution over 8 heads: uniform up to 1 / sqrt(8).
            assert module.weight.abs().max() <= 8**-0.5
            assert module.bias.abs().max() <= 8**-0.5
            assert module.bias.any()
            assert 0.8 < module.weight.std() * (3 * 8) ** 0.5 < 1.2
    tables = [p for name, p in model.named_parameters() if name.endswith(("token", "table"))]
    assert len(tables) == 2
    assert all(0.015 < table.std() < 0.025 for table in tables)


def test_the_rescaled_block_keeps_the_contract() -> None:
    check_layer(lambda: RescaledBlock(8, GlobalAttention(8, 2), vitblocks.Mlp(8), scale=0.5), 8)


def test_each_block_re_attends_as_it_is_asked() -> None:
    model = tiny(depth=3, re_attention_depth=(True, False, True))
    assert attends(model) == [ReAttend, SoftmaxAttend, ReAttend]
    with pytest.raises(ValueError, match=r"re_attention_depth must name each of 3 blocks, got \(True,\)"):
        tiny(depth=3, re_attention_depth=(True,))
