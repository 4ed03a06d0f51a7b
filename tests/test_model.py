"""The one model: what it gives, at which strides, and what it costs to look at."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks.attention import GlobalAttention, LocalWindowAttention
from vitblocks.block import Block
from vitblocks.embed import ConvDownsample, ConvEmbed, PatchMerging
from vitblocks.feedforward import Mlp
from vitblocks.head import linear_head
from vitblocks.model import Model, Stage, is_block
from vitblocks.norm import LayerNorm
from vitblocks.pool import ClassPool, MeanPool
from vitblocks.position import PEG
from vitblocks.prefix import ClassToken, PerToken
from vitblocks.zoo import CaiT, LeViT, TwinsSVT, ViT
from vitblocks.zoo.ats_vit import AdaptiveSampling

DIM = 8


def pyramid(num_classes: int = 3, drop_path: float = 0.0) -> Model:
    """Rectangular patches, two stages, prefix tokens in the second."""
    first = Block(DIM, LocalWindowAttention(DIM, 2, window=2), Mlp(DIM), drop_path=drop_path)
    second = Block(2 * DIM, GlobalAttention(2 * DIM, 2, dropout=drop_path), Mlp(2 * DIM))
    return Model(
        embed=ConvEmbed((4, 2), DIM),
        stages=[
            Stage([first, PEG(DIM)]),
            Stage([ClassToken(2 * DIM, 3), second, PerToken(nn.Identity())], PatchMerging(DIM, patch_size=(1, 2))),
        ],
        norm=LayerNorm(2 * DIM),
        pool=ClassPool(),
        head=linear_head(2 * DIM, num_classes),
    )


def image(height: int = 12, width: int = 16) -> Tensor:
    return torch.randn(2, 3, height, width)


def test_forward_is_embed_stages_norm_pool_head() -> None:
    model, x = pyramid(), image()
    tokens, grid = model.embed(x)
    for stage in model.stages:
        tokens, grid = stage(tokens, grid)
    encoded, encoded_grid = model.encode(x)
    assert encoded_grid == grid == (3, 4)
    assert torch.equal(encoded, model.norm(tokens))
    features = model.pool(encoded, grid)
    assert torch.equal(model.forward_features(x), features)
    assert torch.equal(model(x), model.head(features))


def test_stages_give_tokens_before_the_norm() -> None:
    model, x = pyramid(), image()
    (first, first_grid), (second, second_grid) = model.forward_stages(x)
    assert (first.shape, first_grid) == ((2, 24, DIM), (3, 8))
    assert (second.shape, second_grid) == ((2, 3 + 12, 2 * DIM), (3, 4))
    assert torch.equal(model.norm(second), model.encode(x)[0])


def test_strides_count_pixels_down_and_right() -> None:
    model = pyramid()
    assert model.strides == [(4, 2), (4, 4)]
    for size in ((12, 16), (20, 8)):
        for (_, grid), stride in zip(model.forward_stages(image(*size)), model.strides, strict=True):
            assert (grid[0] * stride[0], grid[1] * stride[1]) == size


def test_feature_maps_are_views_of_the_tokens() -> None:
    model, x = pyramid().eval(), image()
    kept: list[Tensor] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, inputs, output: kept.append(output[0]))
    maps = model.feature_maps(x)
    assert [tuple(feature.map.shape) for feature in maps] == [(2, DIM, 3, 8), (2, 2 * DIM, 3, 4)]
    assert [feature.stride for feature in maps] == model.strides
    assert maps[0].map.data_ptr() == kept[0].data_ptr()
    # Prefix tokens are left out, without a copy.
    assert maps[1].map.data_ptr() == kept[1][:, 3:].data_ptr()
    assert torch.equal(maps[1].map[:, :, 2, 3], kept[1][:, -1])
    assert maps[0].map.is_contiguous(memory_format=torch.channels_last)
    maps[0].map.sum().backward()  # Never detached.


def test_dropped_tokens_make_no_map() -> None:
    sampling = AdaptiveSampling(DIM, GlobalAttention(DIM, 2), 3)
    stages = [Stage([ClassToken(DIM)]), Stage(transition=sampling)]
    model = Model(ConvEmbed(4, DIM), stages, pool=ClassPool())
    assert model.encode(image())[1] == (3,)
    with pytest.raises(ValueError, match=r"needs tokens on an \(H, W\) grid, got grid \(3,\)"):
        model.feature_maps(image())


def test_no_classes_gives_the_features() -> None:
    model, x = pyramid(num_classes=0), image()
    assert model(x).shape == (2, 2 * DIM)
    assert torch.equal(model(x), model.forward_features(x))


def test_norm_and_head_may_be_left_out() -> None:
    model, x = Model(ConvEmbed(4, DIM), [Stage()], pool=MeanPool()), image()
    torch.testing.assert_close(model(x), model.embed(x)[0].mean(dim=1))


def gradients(model: Model, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    model.zero_grad(set_to_none=True)
    model(x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less() -> None:
    """Drop path and dropout draw the same numbers again."""
    model, x = pyramid(drop_path=0.5).train(), image()

    def kept() -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x)
        return sum(sizes)

    plain, plain_kept = gradients(model, x), kept()
    assert model.gradient_checkpointing() is model
    again, again_kept = gradients(model, x), kept()
    assert plain.keys() == again.keys() == dict(model.named_parameters()).keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)
    assert again_kept < plain_kept / 2
    model.gradient_checkpointing(False)
    assert kept() == plain_kept


def test_blocks_are_the_layers_that_attend() -> None:
    names = [name for name, _ in pyramid().blocks()]
    assert names == ["stages.0.layers.0", "stages.1.layers.1"]
    assert not is_block(PEG(DIM))


def test_a_transition_that_attends_is_a_block() -> None:
    model = LeViT(image_size=32, num_classes=3, dim=(16, 24), depth=(2, 1), heads=2, stages=2, key_dim=8)
    names = [name for name, _ in model.blocks()]
    assert names == ["stages.0.layers.0", "stages.0.layers.1", "stages.1.transition", "stages.1.layers.1"]


def test_keys_are_a_path_through_the_model() -> None:
    assert "stages.1.layers.1.attn.qkv.weight" in pyramid().state_dict()


def tiny_models() -> dict[str, Any]:
    vit: dict[str, Any] = {"image_size": 16, "patch_size": 4, "num_classes": 3, "dim": 16, "heads": 2, "mlp_dim": 24}
    twins: dict[str, Any] = {
        f"s{i}_{name}": size for i in range(1, 5) for name, size in (("emb_dim", 8 * i), ("depth", 1))
    }
    for i in range(1, 5):
        twins |= {f"s{i}_patch_size": 2, f"s{i}_local_patch_size": 2, f"s{i}_global_k": 2 if i < 4 else 1}
    return {
        "ViT": lambda: ViT(**vit, depth=2),
        "ViT, mean": lambda: ViT(**vit, depth=2, pool="mean"),
        "CaiT": lambda: CaiT(**vit, depth=2, cls_depth=1),
        "TwinsSVT": lambda: TwinsSVT(num_classes=3, **twins, heads=(1, 2, 3, 4)),
    }


@pytest.mark.parametrize("name", tiny_models())
def test_zoo_models_take_rectangles_of_other_sizes(name: str) -> None:
    model = tiny_models()[name]().eval()
    for size in ((32, 16), (16, 48)):
        x = image(*size)
        assert model(x).shape == (2, 3)
        for feature in model.feature_maps(x):
            rows, columns = feature.map.shape[2:]
            assert (rows * feature.stride[0], columns * feature.stride[1]) == size


@pytest.mark.parametrize("name", tiny_models())
def test_every_parameter_of_a_zoo_model_learns(name: str) -> None:
    model = tiny_models()[name]().train()
    names = gradients(model, image(32, 16))
    assert names.keys() == dict(model.named_parameters()).keys()
    assert all(gradient.isfinite().all() for gradient in names.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image_size": 15}, r"\(15, 15\) does not divide into patches of \(4, 4\)"),
        ({"num_classes": -1}, "num_classes must be at least 0, got -1"),
        ({"dim": 9}, "dim 9 does not divide into 2 heads"),
        ({"pool": "max"}, "pool must be one of 'cls', 'mean', got 'max'"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], message: str) -> None:
    sizes = {"image_size": 16, "patch_size": 4, "num_classes": 1, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
    with pytest.raises(ValueError, match=message):
        ViT(**{**sizes, **changed})


def test_a_pyramid_downsamples_with_any_transition() -> None:
    stages = [Stage([PEG(DIM)]), Stage([PEG(12)], ConvDownsample(DIM, 12, 3, stride=2, padding=1))]
    model = Model(ConvEmbed(4, DIM), stages, pool=MeanPool())
    assert model.strides == [(4, 4), (8, 8)]
    assert model(image()).shape == (2, 12)
