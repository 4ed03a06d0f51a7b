"""Kinds that a layer may become: what is put, and what it keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from einops import rearrange
from torch import nn

from vitblocks import GlobalAttention, ReducedAttention, ViT, load_model
from vitblocks.convert import (
    Kind,
    NoMixing,
    convolutional,
    dilated,
    global_layers,
    heads,
    kernel,
    left_out,
    reduced,
    talking_heads,
    windows,
)

from ..zoo.tiny import TINY

KINDS = [
    windows(2),
    dilated(2),
    reduced(2),
    kernel(),
    kernel(6),
    convolutional(),
    talking_heads(),
    heads(1),
    left_out(),
]


def vit() -> ViT:
    torch.manual_seed(0)
    return TINY["ViT"].build().eval()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_model_with_a_layer_of_the_kind_is_saved_and_built_again(kind: Kind, tmp_path: Any) -> None:
    model, images = vit(), torch.rand(2, 3, 16, 16)
    layer = global_layers(model)[1]
    kind.put(model, layer)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(load_model(tmp_path).eval()(images), model.eval()(images))


def test_global_layers_are_those_over_all_tokens() -> None:
    model = vit()
    assert global_layers(model) == ["stages.0.layers.3.attn", "stages.0.layers.4.attn"]
    windows(2).put(model, "stages.0.layers.3.attn")
    assert global_layers(model) == ["stages.0.layers.4.attn"]
    with pytest.raises(ValueError, match="must have global attention"):
        global_layers(nn.Linear(2, 2))


def test_what_is_left_out_adds_nothing() -> None:
    model, x = vit(), torch.rand(2, 17, 8)
    block: Any = model.stages[0].layers[3]
    left_out().put(model, "stages.0.layers.3.attn")
    assert isinstance(block.attn, NoMixing)
    torch.testing.assert_close(block(x, (4, 4)), x + block.mlp(block.norm2(x), (4, 4)))


def test_fewer_heads_are_the_strongest_ones() -> None:
    model, x = vit(), torch.rand(2, 17, 8)
    old: Any = model.get_submodule("stages.0.layers.3.attn")
    with torch.no_grad():
        rearrange(old.proj.weight, "c (h d) -> h c d", h=2)[0] = 0  # the first head writes nothing
    heads(1).put(model, "stages.0.layers.3.attn")
    new = model.get_submodule("stages.0.layers.3.attn")
    assert isinstance(new, GlobalAttention)
    assert new.heads == 1
    torch.testing.assert_close(new(x, (4, 4)), old(x, (4, 4)))
    with pytest.raises(ValueError, match="heads must lie in"):
        heads(1).put(model, "stages.0.layers.3.attn")
    reduced(2).put(model, "stages.0.layers.4.attn")
    assert isinstance(model.get_submodule("stages.0.layers.4.attn"), ReducedAttention)
    with pytest.raises(ValueError, match="of a GlobalAttention"):
        heads(1).put(model, "stages.0.layers.4.attn")
