"""SigLIP."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks import zoo

from .common import check_model


def tiny(**options: Any) -> zoo.SigLIP:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return zoo.SigLIP(**{**sizes, **options})


@pytest.mark.parametrize("pool", ["map", "mean"])
def test_does_what_every_model_does(pool: str) -> None:
    check_model(tiny(pool=pool, drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def test_an_image_that_does_not_divide_into_patches() -> None:
    with pytest.raises(ValueError, match="patches of"):
        tiny(image_size=36)
    image = torch.randn(1, 3, 36, 38)
    model = tiny(image_size=36, remainder="drop").eval()
    assert torch.equal(model(image), model(image[..., :32, :32]))
    assert tiny(image_size=36, remainder="pad").encode(image)[1] == (5, 5)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'map', 'mean', got 'cls'"):
        tiny(pool="cls")
