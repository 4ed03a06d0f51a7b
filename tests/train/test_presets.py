"""The published recipes run, on images that are made up and few."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from vitblocks import ViT, create_model
from vitblocks.train import PRESETS, fit, preset
from vitblocks.train.data import Labelled

from .test_fit import OPTIONS, losses

pytest.importorskip("accelerate")
pytest.importorskip("kornia")


def colours(count: int = 16) -> Labelled:
    draw = torch.Generator().manual_seed(0)
    return Labelled(torch.randint(256, (count, 40, 36, 3), dtype=torch.uint8, generator=draw), torch.arange(count) % 4)


def small() -> ViT:
    return ViT(image_size=16, patch_size=4, num_classes=4, dim=16, depth=2, heads=2, mlp_dim=16)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_preset(name: str, tmp_path: Path) -> None:
    """Two epochs of it, with all of its augmentation, in bfloat16."""
    torch.manual_seed(0)
    changes: dict[str, Any] = {"epochs": 2, "batch": 8, "warmup_epochs": 1}
    recipe = preset(name, **changes)
    if recipe.objective in OPTIONS and recipe.objective != "supervised":
        recipe = preset(name, **changes, objective_options={**recipe.objective_options, **OPTIONS[recipe.objective]})
    net = create_model("cct_7_3x1_32", num_classes=4) if name == "cct_cifar10" else small()
    assert isinstance(net, torch.nn.Module)
    result = fit(net, (colours(), colours(8)), recipe, folder=tmp_path)
    assert result.steps == 4
    found = losses(tmp_path)
    assert all(math.isfinite(record["loss"]) for record in found)
    if recipe.lr_batch is not None:  # in proportion to the smaller batch, at the end of the warm-up
        assert found[1]["lr"] == pytest.approx(recipe.lr * 8 / recipe.lr_batch)
