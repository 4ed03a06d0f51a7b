"""CCT, CVT and ViT-Lite."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import (
    CCT,
    ClassToken,
    CompactViT,
    GlobalAttention,
    LearnedPosition,
    Mlp,
    Model,
    SinePosition1d,
    ViTLite,
    layer_norm,
)
from vitblocks.testing import check_layer
from vitblocks.zoo import cct, cct_2, cct_14
from vitblocks.zoo.cct import CompactBlock

from .common import check_model

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES: dict[str, Any] = {
    "img_size": 16,
    "embedding_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
    "num_classes": 5,
}


def tiny(**options: Any) -> CCT:
    sizes = {**SIZES, "n_conv_layers": 2, "kernel_size": 3, "stride": 1, "padding": 1}
    return CCT(**{**sizes, **options})


def tiny_patches(kind: type[CompactViT] = CompactViT, **options: Any) -> CompactViT:
    return kind(**{**SIZES, "kernel_size": 4, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(img_size=(32, 24), dropout=0.1), torch.randn(2, 3, 32, 24), classes=5)


def test_vit_lite_too() -> None:
    check_model(tiny_patches(ViTLite, positional_embedding="sine"), torch.randn(2, 3, 16, 16), classes=5)


@pytest.mark.parametrize("kind", ["learnable", "sine", "none"])
@pytest.mark.parametrize("size", [(16, 16), (20, 32), (36, 12)])
def test_other_sizes_channels_and_features(kind: str, size: tuple[int, int]) -> None:
    options: dict[str, Any] = {"positional_embedding": kind, "channels": 2, "num_classes": 0}
    models = [tiny(**options), tiny_patches(**options), tiny_patches(ViTLite, **options)]
    for model in models:
        assert model.eval()(torch.randn(2, 2, *size)).shape == (2, 16)


@pytest.mark.parametrize("size", [33, (50, 7)])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_positions_are_made_for_the_grid_of_the_tokenizer(size: Any, kernel_size: int) -> None:
    model = tiny(img_size=size, kernel_size=kernel_size, stride=2, padding=kernel_size // 2)
    image = torch.randn(1, 3, *(size if isinstance(size, tuple) else (size, size)))
    assert tables(model)[0].grid == model.encode(image)[1]


def tables(model: Model) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, (LearnedPosition, SinePosition1d))]


def test_an_image_of_which_nothing_is_left_is_refused() -> None:
    unpadded: dict[str, Any] = {"kernel_size": 7, "stride": 2, "padding": 0, "pooling_padding": 0}
    model = tiny(**unpadded, img_size=64, positional_embedding="none").eval()
    assert model.encode(torch.randn(1, 3, 51, 51))[1] == (1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        model.embed.conv(torch.randn(1, 3, 64, 50))
    with pytest.raises(ValueError, match=r"at least 51, got \(64, 50\)"):
        model(torch.randn(1, 3, 64, 50))
    with pytest.raises(ValueError, match="at least 51"):
        tiny(**unpadded, img_size=50)


def hidden(model: Model) -> int:
    block: Any = next(model.blocks())[1]
    return int(block.mlp.fc1.out_features)


def test_the_ratio_may_be_spelled_either_way() -> None:
    given = {key: value for key, value in SIZES.items() if key != "mlp_ratio"}
    assert hidden(CCT(**given, mlp_ratio=3.0)) == hidden(CCT(**given, mlp_radio=3.0)) == 48
    assert hidden(CCT(**given, mlp_ratio=3, mlp_radio=3.0)) == 48
    assert hidden(CCT(**given)) == 64
    assert hidden(cct_2(img_size=16, mlp_radio=1)) == 128
    with pytest.raises(ValueError, match=r"mlp_radio .* got 3.0 and 2"):
        CCT(**given, mlp_ratio=2, mlp_radio=3.0)


def test_sizes_by_number_of_blocks() -> None:
    """The authors' models; those of 8 and 16 blocks are as wide as their neighbours."""
    widths = {2: 128, 4: 128, 6: 256, 7: 256, 8: 256, 14: 384, 16: 384}
    with torch.device("meta"):
        for depth, width in widths.items():
            model = getattr(cct, f"cct_{depth}")(img_size=32)
            blocks: list[Any] = [block for _, block in model.blocks()]
            assert len(blocks) == depth
            assert {block.attn.dim for block in blocks} == {width}
            assert {block.attn.head_dim for block in blocks} == {64}


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (7, 2, 3)])
def test_stride_and_padding_follow_from_the_kernel(kernel_size: int, stride: int, padding: int) -> None:
    def first(model: CCT) -> nn.Conv2d:
        return next(m for m in model.modules() if isinstance(m, nn.Conv2d))

    with torch.device("meta"):
        followed = first(cct_14(img_size=64, kernel_size=kernel_size))
        given = first(cct_14(img_size=64, kernel_size=kernel_size, stride=3, padding=0))
    assert (followed.stride, followed.padding) == ((stride, stride), (padding, padding))
    assert (given.stride, given.padding) == ((3, 3), (0, 0))


def test_without_positions_the_order_of_patches_does_not_matter() -> None:
    image = torch.randn(1, 3, 16, 16)
    for kind, same in (("none", True), ("learnable", False), ("sine", False)):
        model = tiny_patches(positional_embedding=kind).eval()
        difference = (model(image) - model(image.roll(4, dims=2))).abs().max()
        assert bool(difference < 1e-6) == same
    with pytest.raises(ValueError, match="'sine', 'learnable', 'none', got 'cosine'"):
        tiny(positional_embedding="cosine")


def test_sines_are_the_published_table() -> None:
    """The authors compute in float32, so that the angles of their last rows are off by their rounding."""
    raw = json.loads((GOLDEN / "cct_sine.json").read_text())["fixed_values"]["classifier.positional_emb"]
    published = torch.tensor(raw, dtype=torch.float64).reshape(64, 32)
    table = tables(tiny(img_size=32, embedding_dim=32, positional_embedding="sine"))[0].table
    assert not table.requires_grad
    assert (table[0] - published).abs().max() < 64 * torch.finfo(torch.float32).eps
    for place, channel in ((0, 0), (3, 5), (63, 30)):
        angle = place * 10000 ** (-2 * (channel // 2) / 32)
        expected = math.cos(angle) if channel % 2 else math.sin(angle)
        assert table[0, place, channel] == pytest.approx(expected, abs=1e-7)


def test_vit_lite_reads_a_class_token_that_has_a_position() -> None:
    for kind in ("learnable", "sine"):
        model = tiny_patches(ViTLite, positional_embedding=kind)
        assert tables(model)[0].table.shape == (1, 17, 16)
        assert model.encode(torch.randn(1, 3, 16, 16))[0].shape == (1, 17, 16)
    assert not any(isinstance(module, ClassToken) for module in tiny_patches().modules())


def test_patches_must_divide_the_image() -> None:
    with pytest.raises(ValueError, match=r"\(16, 12\) or \(16, 16\)"):
        tiny_patches(img_size=(16, 15))
    with pytest.raises(ValueError, match="3 heads"):
        tiny(num_heads=3)


def test_initial_weights() -> None:
    model = tiny_patches(ViTLite, embedding_dim=128, img_size=64)
    (position,) = tables(model)
    assert 0.19 < position.table.std() < 0.21
    assert not any(m.token.any() for m in model.modules() if isinstance(m, ClassToken))
    convolution = tiny(embedding_dim=64).embed
    for module in [*model.modules(), *convolution.modules()]:
        if isinstance(module, nn.Linear) and module.weight.numel() > 1000:
            assert 0.018 < module.weight.std() < 0.022
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.Conv2d):
            assert 0.9 < module.weight.std() * (module.weight[0].numel() / 2) ** 0.5 < 1.1


def test_published_rates_are_the_defaults() -> None:
    """Attention dropout and stochastic depth of 0.1, no other dropout."""
    model = tiny(num_layers=3)
    blocks: list[Any] = [block for _, block in model.blocks()]
    assert [block.attn.attend.dropout for block in blocks] == [0.1] * 3
    assert [block.shortcut2.drop_path.rate for block in blocks] == [0.0, 0.05, 0.1]
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.0}


def test_the_compact_block_keeps_the_contract() -> None:
    check_layer(lambda: CompactBlock(8, GlobalAttention(8, 2), Mlp(8)), 8)


def test_the_second_branch_starts_from_normed_tokens() -> None:
    block = CompactBlock(8, GlobalAttention(8, 2), Mlp(8), norm=layer_norm(1e-12))
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)
    y = block(torch.randn(2, 5, 8), (1, 5))
    torch.testing.assert_close(y.mean(dim=-1), torch.zeros(2, 5))
    torch.testing.assert_close(y.var(dim=-1, correction=0), torch.ones(2, 5))
