"""DeiT3."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks import zoo

from .common import check_model


def tiny(**options: Any) -> zoo.DeiT3:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.DeiT3(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(layer_scale=0.5, drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


@pytest.mark.parametrize("size", [(32, 64), (16, 8)])
def test_the_class_token_has_no_position(size: tuple[int, int]) -> None:
    model = tiny(depth=0)
    x, _ = model.forward_stages(torch.randn(1, 3, *size))[0]
    assert torch.equal(x[0, :1], model.stages[0].layers[1].token[0])
