"""DINOv2."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import GatedMlp, MaskToken, zoo
from vitblocks.checkpoint import export, load

from .common import check_model


def tiny(**options: Any) -> zoo.DINOv2:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.DINOv2(**{**sizes, "layer_scale": 0.5, **options})


def test_does_what_every_model_does() -> None:
    options = {"registers": 3, "feedforward": GatedMlp, "activation": nn.SiLU, "pool": "cls+mean"}
    check_model(tiny(**options, drop_path=0.1, dropout=0.1, emb_dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_the_class_token_is_first_and_registers_have_no_position() -> None:
    for class_position in (True, False):
        model = tiny(registers=3, class_position=class_position, depth=0).double()
        layers = {type(layer).__name__: layer for layer in model.stages[0].layers}
        table = layers["LearnedPosition"].table
        x, _ = model.forward_stages(torch.zeros(1, 3, 32, 32).double())[0]
        token = layers["ClassToken"].token[0] + (table[0, :1] if class_position else 0)
        assert torch.equal(x[0, :1], token)
        assert torch.equal(x[0, 1:4], layers["RegisterToken"].token[0])
        torch.testing.assert_close(x[0, 4:] - table[0, int(class_position) :], model.embed.conv.bias.expand(16, -1))


@pytest.mark.parametrize("layout", ["timm", "official", "hf"])
@pytest.mark.parametrize("registers", [0, 2])
def test_a_position_of_the_class_token_is_moved_where_theirs_has_none(layout: str, registers: int) -> None:
    images = torch.randn(2, 3, 32, 32).double()
    for there, here in ((True, False), (False, True)):
        first = tiny(registers=registers, class_position=there).double().eval()
        second = tiny(registers=registers, class_position=here).double().eval()
        load(second, export(first, layout), layout=layout)
        torch.testing.assert_close(second(images), first(images), rtol=1e-12, atol=1e-12)


def test_the_mask_token_comes_along_and_changes_nothing() -> None:
    with_token, without = tiny(mask_token=True), tiny()
    token = next(part for part in with_token.modules() if isinstance(part, MaskToken))
    token.token.normal_()
    state = export(with_token, "hf")
    assert torch.equal(state["dinov2.embeddings.mask_token"], token.token[0])
    load(without, state, layout="hf")
    assert not export(without, "hf")["dinov2.embeddings.mask_token"].any()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(with_token.eval()(images), without.eval()(images))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'cls\\+mean', 'mean', got 'max'"):
        tiny(pool="max")
    with pytest.raises(ValueError, match="registers must be at least 0, got -1"):
        tiny(registers=-1)
