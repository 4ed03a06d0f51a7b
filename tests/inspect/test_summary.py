"""The counts of summary against counts by hand."""

from __future__ import annotations

import torch
from torch import nn

from vitblocks import (
    ClassPool,
    ClassToken,
    ConvEmbed,
    GlobalAttention,
    MeanPool,
    Model,
    Residual,
    Stage,
    TalkingHeadsAttention,
    summary,
    swap,
)
from vitblocks.zoo.vit import ViT


def small_model(dim: int = 8) -> Model:
    stage = Stage([ClassToken(dim), Residual(dim, GlobalAttention(dim, 2))])
    return Model(ConvEmbed(4, dim), [stage], pool=ClassPool(), head=nn.Linear(dim, 3))


def test_counts_by_hand() -> None:
    counted = summary(small_model(), (8, 12))
    rows = {row.name: row for row in counted.layers}
    tokens = 2 * 3 + 1
    assert rows["embed"].macs == 2 * 3 * (4 * 4 * 3) * 8
    projections = tokens * 8 * 24 + tokens * 8 * 8
    products = 2 * tokens * tokens * 8
    assert rows["stages.0.layers.1"].macs == projections + products
    assert rows["head"].macs == 8 * 3
    assert counted.macs == sum(row.macs for row in counted.layers)
    assert counted.params == sum(p.numel() for p in small_model().parameters())
    assert rows["stages.0.layers.1"].shape == (tokens, 8)
    assert rows["stages.0.layers.1"].activations == tokens * 8


def test_leaves_the_model_alone() -> None:
    model = small_model().train()
    model.embed.eval()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    summary(model, 8)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert model.training
    assert not model.embed.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_part_in_two_places_is_counted_twice_and_keeps_its_weights() -> None:
    attn = GlobalAttention(8, 2)
    model = Model(
        ConvEmbed(4, 8), [Stage([Residual(8, attn), Residual(8, attn)])], pool=MeanPool(), head=nn.Linear(8, 3)
    )
    alone = summary(Model(ConvEmbed(4, 8), [Stage([Residual(8, attn)])], pool=MeanPool(), head=nn.Linear(8, 3)), 8)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    counted = summary(model, 8)
    assert counted.macs - alone.macs == next(row.macs for row in alone.layers if row.kind == "Residual")
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    report = swap(model, "attention", TalkingHeadsAttention, sample=torch.rand(2, 3, 8, 8))
    assert report.macs_before == counted.macs
    assert not any(t.is_meta for t in model.state_dict().values())


def test_hooks_of_others_are_not_called() -> None:
    model, calls = small_model(), []
    model.head.register_forward_hook(lambda *_: calls.append(1))
    summary(model, 8)
    assert calls == []


def test_size_defaults_to_the_models_own() -> None:
    model = ViT(image_size=(16, 32), patch_size=8, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=16, channels=5)
    assert summary(model).image == (5, 16, 32)
    assert summary(small_model()).image == (3, 224, 224)


def test_prints_every_layer_and_the_totals() -> None:
    counted = summary(small_model(), 8)
    text = str(counted)
    assert all(row.name in text for row in counted.layers)
    assert f"{counted.macs:,}" in text
    assert f"{counted.params:,}" in text


def test_half_precision_models_are_counted_alike() -> None:
    assert summary(small_model().bfloat16(), 8) == summary(small_model(), 8)
