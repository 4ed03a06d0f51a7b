"""LeViT."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import AveragedHeads, Block, LeViT, checkpoint as ck
from vitblocks.zoo.levit import DownsamplingAttention, LeViTStage, Shrink

from .common import check_gradients, check_model


def tiny(**options: object) -> LeViT:
    sizes = {"image_size": 80, "num_classes": 5, "dim": (16, 24, 32), "depth": (1, 2, 1), "heads": (2, 3, 4)}
    return LeViT(**{**sizes, "key_dim": 8, **options})


def awake(model: LeViT) -> LeViT:
    """With the scales and biases that start at zero set to something."""
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.5)
    return model.eval()


def test_does_what_every_model_does() -> None:
    model = tiny(stages=2, dim=(16, 24), heads=(2, 3), depth=1, drop_path=0.1, dropout=0.1)
    check_model(awake(model), torch.randn(2, 3, 80, 64), classes=5)


def test_two_heads_are_averaged() -> None:
    model, image = awake(tiny(distilled=True)), torch.randn(2, 3, 80, 80)
    check_gradients(model, image)
    assert isinstance(model.head, AveragedHeads)
    first, second = model.head.each(model.forward_features(image))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(model(image), (first + second) / 2)


@pytest.mark.parametrize("distilled", [False, True])
def test_no_classes_are_features(distilled: bool) -> None:
    model, image = tiny(num_classes=0, distilled=distilled, channels=1).eval(), torch.randn(2, 1, 80, 80)
    assert torch.equal(model(image), model.forward_features(image))
    assert model(image).shape == (2, 32)


@pytest.mark.parametrize("size", [(80, 80), (64, 96), (160, 33), (1, 1), (97, 50)])
def test_every_size_works_and_rounds_up(size: tuple[int, int]) -> None:
    maps = awake(tiny()).feature_maps(torch.randn(1, 3, *size))
    for feature, stride in zip(maps, (16, 32, 64), strict=True):
        assert feature.stride == (stride, stride)
        assert feature.map.shape[2:] == tuple(-(-side // stride) for side in size)
        assert feature.map.isfinite().all()


def test_the_image_size_only_shapes_the_tables() -> None:
    model = tiny(image_size=(64, 96))
    tables = [tuple(p.shape[1:]) for name, p in model.named_parameters() if name.endswith("table")]
    assert tables == [(4, 6), (4, 6), (2, 3), (2, 3), (2, 3), (1, 2)]


def test_shrinking_attention_has_a_head_for_every_key_in_its_input() -> None:
    model = tiny()
    shrinks = [stage.transition for stage in list(model.stages)[1:]]
    assert all(isinstance(shrink, DownsamplingAttention) for shrink in shrinks)
    assert [(shrink.heads, shrink.head_dim, shrink.value_dim) for shrink in shrinks] == [(2, 8, 32), (3, 8, 32)]
    with pytest.raises(ValueError, match="key_dim must be at most dim 16"):
        tiny(key_dim=17)


def test_sizes_are_for_all_stages_or_one_each() -> None:
    assert tiny(depth=1)(torch.randn(2, 3, 80, 80)).shape == (2, 5)
    assert len(tiny(stages=2, dim=(16, 24), depth=1, heads=2).stages) == 2
    with pytest.raises(ValueError, match="heads must be a number or 3 of them"):
        tiny(heads=(2, 3))


def test_trains_on_a_single_image() -> None:
    """Whose pooled features have no variance of their own, so that the head norms them by the running statistics."""
    model, image = awake(tiny()).train(), torch.randn(1, 3, 80, 80)
    model(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    x, _ = model.encode(image)
    expected = model.head.linear(
        nn.functional.batch_norm(x.mean(1), torch.zeros(32), torch.ones(32), *model.head.norm.parameters())
    )
    torch.testing.assert_close(model.head(x.mean(1)), expected)
    assert model.head.norm.bn.num_batches_tracked == 0


def test_starts_as_the_authors_do() -> None:
    model = tiny(dim=(64, 96, 128), num_classes=100)
    x, grid = torch.randn(2, 25, 64), (5, 5)
    assert torch.equal(model.stages[0](x, grid)[0], x)  # every branch ends in a scale of zero
    for name, parameter in model.named_parameters():
        zero = name.endswith(("bias", "table", "fc2.norm.bn.weight")) or (
            name.endswith("proj.1.norm.bn.weight") and "transition" not in name
        )
        assert parameter.any() != zero, name
        if name.endswith("linear.weight") and "head" not in name:  # PyTorch's own
            assert parameter.abs().max() <= parameter.shape[1] ** -0.5, name
            assert 0.9 < parameter.std() * (3 * parameter.shape[1]) ** 0.5 < 1.1, name
    assert 0.9 * 0.02 < model.head.linear.weight.std() < 1.1 * 0.02


@pytest.mark.parametrize("layout", ["timm", "official"])
def test_weights_travel_between_sizes(layout: str) -> None:
    """Resized at load, the biases are those that the model would resize as it runs."""
    source, image = awake(tiny()), torch.randn(1, 3, 144, 112)
    target = tiny(image_size=(144, 112)).eval()
    report = ck.load(target, ck.export(source, layout), layout=layout, resize=True, grid=ck.grids_of(source))
    assert len(report.resized) == 6
    torch.testing.assert_close(target(image), source(image))
    with pytest.raises(ValueError, match="attention_biases"):
        ck.load(target, ck.export(source, layout), layout=layout)


def test_official_index_is_in_order_of_first_appearance() -> None:
    exported = ck.export(tiny(), "official")
    places = list(itertools.product(range(5), range(5)))
    order: dict[tuple[int, int], int] = {}
    for queries, key in ((places, "blocks.0.m"), ([p for p in places if not any(i % 2 for i in p)], "blocks.2")):
        order.clear()
        expected = [[order.setdefault((abs(r - y), abs(c - x)), len(order)) for y, x in places] for r, c in queries]
        assert exported[f"{key}.attention_bias_idxs"].tolist() == expected


def test_stage_alone_exports_as_timm_names_it() -> None:
    keys = ck.export(LeViTStage(16, 2, 2, (4, 4), before=16, key_dim=8), "timm").keys()
    assert {"downsample.mlp.ln2.bn.bias", "blocks.1.attn.qkv.linear.weight"} <= keys
    assert "attn.qkv.linear.weight" in ck.export(LeViTStage(16, 1, 2, (4, 4), key_dim=8), "timm")


def test_sizes_of_each_stage_and_between_them() -> None:
    shrinks = [Shrink(4, heads=3, attn_ratio=2, mlp_mult=1.5, stride=3), Shrink(8)]
    sizes = {"key_dim": (8, 4, 16), "attn_ratio": (1, 2, 3.0), "mlp_mult": (1, 1.5, 2)}
    model = tiny(shrinks=shrinks, activation=nn.ReLU, **sizes)
    attns: list[Any] = [block.attn for _, block in model.blocks() if isinstance(block, Block)]
    assert [(attn.head_dim, attn.value_dim) for attn in attns] == [(8, 8), (4, 8), (4, 8), (16, 48)]
    transitions: list[Any] = [stage.transition for stage in model.stages[1:]]
    first, second = transitions
    assert (first.heads, first.head_dim, first.value_dim, first.stride) == (3, 4, 8, (3, 3))
    assert (second.heads, second.head_dim, second.value_dim, second.stride) == (3, 8, 32, (2, 2))
    assert not any(isinstance(part, nn.Hardswish) for part in model.modules())
    stages = model.forward_stages(torch.randn(1, 3, 80, 112))
    assert [grid for _, grid in stages] == [(5, 7), (2, 3), (1, 2)]
    with pytest.raises(ValueError, match="shrinks must be 2, one before each stage but the first, got 1"):
        tiny(shrinks=shrinks[:1])
