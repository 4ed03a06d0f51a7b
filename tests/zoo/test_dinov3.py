"""DINOv3."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import GatedMlp, zoo
from vitblocks.checkpoint import export, load

from .common import check_model


def tiny(**options: Any) -> zoo.DINOv3:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.DINOv3(**{**sizes, "layer_scale": 0.5, **options})


def test_does_what_every_model_does() -> None:
    options = {"feedforward": GatedMlp, "activation": nn.SiLU, "drop_path": 0.1, "dropout": 0.1}
    check_model(tiny(qkv_bias=True, **options), torch.randn(2, 3, 32, 32), classes=5)


def test_a_picture_turned_and_its_twin_in_size_have_the_same_centres() -> None:
    """Coordinates are those of the image: twice as many patches lie between the same ends."""
    rotary = tiny().stages[0].layers[-1].attn.rotary
    like = torch.zeros(1, dtype=torch.float64)
    coarse, fine = (rotary.angles((size, size), like)[:: size + 1] for size in (4, 8))
    torch.testing.assert_close((fine[0::2] + fine[1::2]) / 2, coarse)


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_names_of_files_and_of_modules_are_read(qkv_bias: bool) -> None:
    model, other = tiny(mask_token=True, qkv_bias=qkv_bias, num_classes=0), tiny(num_classes=0, qkv_bias=qkv_bias)
    state = export(model, "hf")
    assert "layer.0.attention.q_proj.weight" in state
    named = {f"model.{key}" if key.startswith("layer.") else key: value for key, value in state.items()}
    load(other, named, layout="hf")
    image = torch.randn(1, 3, 24, 40)
    assert torch.equal(model.eval()(image), other.eval()(image))
