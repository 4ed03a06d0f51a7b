"""EVA and EVA-02."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import GatedMlp, LayerNorm, Rotary2d, zoo
from vitblocks.block import ResidualPostNormBlock

from .common import check_model

EVA02: dict[str, Any] = {
    "positions_rotary": partial(Rotary2d, base=10000.0, grid=16),
    "feedforward": partial(GatedMlp, norm=LayerNorm),
    "activation": nn.SiLU,
    "attn_norm": LayerNorm,
}


def tiny(**options: Any) -> zoo.EVA:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.EVA(**{**sizes, **options})


@pytest.mark.parametrize("options", [EVA02, {"block": ResidualPostNormBlock, "pool": "cls"}], ids=["02", "enormous"])
def test_does_what_every_model_does(options: dict[str, Any]) -> None:
    check_model(tiny(**options, drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_places_of_another_grid_are_scaled_to_that_of_pre_training() -> None:
    rotary, like = Rotary2d(8, base=10000.0, grid=16), torch.zeros(1, dtype=torch.float64)
    own, finer = rotary.angles((16, 16), like), rotary.angles((32, 16), like)
    torch.testing.assert_close(own, Rotary2d(8, base=10000.0).angles((16, 16), like))
    torch.testing.assert_close(finer.unflatten(0, (32, 16))[::2].flatten(0, 1), own)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'mean', got 'max'"):
        tiny(pool="max")
    with pytest.raises(ValueError, match="pairs must be one of 'neighbours', 'halves', got 'both'"):
        Rotary2d(8, pairs="both")
    with pytest.raises(ValueError, match="coordinates must be one of 'index', 'centre', got 'middle'"):
        Rotary2d(8, coordinates="middle")
