"""Models as one would write them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import vitblocks as v
from vitblocks import PEG, CompactStem, LayerNorm, Model, SequencePool, Stage, ViT, swap_attention
from vitblocks.recipe import build, describe, expression

from .examples import MODELS
from .parts import Tile, TinyLayer, TinyModel, TinyNorm, TinyStack, wide_norm

HYBRID = """\
Model(
    CompactStem(64, channels=1),
    [
        Stage([
            Block(64, LocalWindowAttention(64, heads=4, window=4, position_bias=RelativeBias(4, 4)), Mlp(64)),
            PEG(64),
        ]),
        Stage([Block(64, TalkingHeadsAttention(64, heads=4), Mlp(64)) for _ in range(2)]),
    ],
    pool=SequencePool(64),
    norm=LayerNorm(64),
    head=nn.Linear(64, 10),
)"""


def test_a_hybrid_reads_as_it_was_written() -> None:
    windows = v.LocalWindowAttention(64, heads=4, window=4, position_bias=v.RelativeBias(heads=4, grid=4))
    heads = [v.TalkingHeadsAttention(64, heads=4) for _ in range(2)]
    model = Model(
        embed=CompactStem(64, channels=1),
        stages=[Stage([v.Block(64, windows, v.Mlp(64)), PEG(64)]), Stage([v.Block(64, a, v.Mlp(64)) for a in heads])],
        norm=LayerNorm(64),
        pool=SequencePool(64),
        head=nn.Linear(64, 10),
    )
    assert repr(model) == HYBRID


def test_what_was_changed_follows() -> None:
    model = ViT(image_size=16, patch_size=4, num_classes=5, dim=8, depth=3, heads=2, mlp_dim=16)
    swap_attention(model, v.LocalWindowAttention, where=slice(1, None), window=2)
    model.head = nn.Identity()
    first, *lines = repr(model).splitlines()
    assert first == "ViT(image_size=16, patch_size=4, num_classes=5, dim=8, depth=3, heads=2, mlp_dim=16)"
    assert lines[0].startswith("stages.0.layers.")
    assert ".attn = LocalWindowAttention(8, heads=2, window=2" in lines[0]
    assert lines[1] == "head = nn.Identity()"


def test_what_cannot_be_told_is_a_tree() -> None:
    model = Model(v.ConvEmbed(4, 8), [Stage([v.Mlp(8, activation=lambda: nn.ReLU())])], pool=v.MeanPool())
    assert "(embed): ConvEmbed(" in repr(model)


EVERYTHING: dict[str, nn.Module] = {
    "values": TinyStack(
        [
            TinyLayer(4, norm=partial(TinyNorm, eps=0.5), activation=partial(nn.GELU, approximate="tanh")),
            TinyLayer(4, norm=wide_norm, tile=Tile(2, (1, 0)), dropout=0.5),
            nn.Sequential(nn.ReLU(), nn.Linear(4, 4, bias=False)),
            nn.ModuleDict({"a b": nn.Conv2d(3, 4, 3, padding=1)}),
        ],
        times=2,
    ),
    "starred": TinyStack([], nn.ReLU(), nn.Tanh(), last=nn.ReLU()),
    "numbers": TinyModel(4, 1, heads=(1, 2), scale=math.inf),
}


@pytest.mark.parametrize("name", [*EVERYTHING, *MODELS])
def test_the_expression_makes_what_is_described(name: str) -> None:
    """An expression is Python: evaluated with the parts at hand, it is the model again."""
    from vitblocks.recipe.expressing import express, text

    model = EVERYTHING[name] if name in EVERYTHING else MODELS[name]()
    found = describe(model)
    space: dict[str, Any] = {**v.list_parts(), "nn": nn, "torch": torch, "partial": partial}
    made = eval(text(express(found)), space)
    assert describe(made) == found
    assert expression(found) == expression(build(found))
