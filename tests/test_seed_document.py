"""The usage examples of the document this library started from run here with only their import lines changed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import ViT

SEED = Path(__file__).parent / "seed"
NEEDS = {
    "dino": "kornia",
    "efficient_nystrom": "nystrom_attention",
    "efficient_x_transformers": "x_transformers",
}
# An image of 2048 x 2048 pixels; training steps of a large model.
SLOW = {"efficient_nystrom", "mae", "simmim", "mpp", "dino", "distill"}
SAVED = {"mae": "trained-vit.pt", "simmim": "trained-vit.pt", "mpp": "pretrained-net.pt", "dino": "pretrained-net.pt"}
RESULTS: dict[str, dict[str, tuple[int, ...]]] = {"ats_vit": {"preds": (4, 1000)}, "distill": {"pred": (2, 1000)}}
"""The shapes of the results, where they are not one image's logits."""


def stand_ins_for_torchvision() -> dict[str, ModuleType]:
    """``torchvision.models.resnet50`` without the library and its download: any module that tells 1000 classes may teach."""
    package, models = (ModuleType(name) for name in ("torchvision", "torchvision.models"))
    small = nn.Sequential(nn.Conv2d(3, 8, 7, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000))
    vars(models)["resnet50"] = lambda pretrained: small
    return {package.__name__: package, models.__name__: models}


def examples() -> list[Any]:
    return [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in sorted(SEED.glob("*.py"))
    ]


@pytest.mark.parametrize("path", examples())
def test_example(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the weights that some save
    if path.stem in NEEDS:
        pytest.importorskip(NEEDS[path.stem])
    if path.stem == "distill":
        for name, module in stand_ins_for_torchvision().items():
            monkeypatch.setitem(sys.modules, name, module)
    # Two steps do for those that train for a hundred.
    names = runpy.run_path(str(path), init_globals={"range": lambda steps: range(min(steps, 2))})
    expected = RESULTS.get(path.stem, {})
    if "loss" in names:
        assert names["loss"].isfinite()
    if path.stem == "distill":
        assert type(names["v"]) is ViT
    if path.stem in SAVED:
        assert torch.load(tmp_path / SAVED[path.stem])
        return
    found = {name: names[name] for name in ("preds", "pred", "logits") if name in names}
    if not found:
        model = next(value for value in names.values() if isinstance(value, torch.nn.Module))
        found = {"preds": model(names.get("img", torch.randn(1, 3, 224, 224)))}
    for name, logits in found.items():
        assert logits.shape == expected.get(name, (1, 1000))
        assert logits.isfinite().all()


def test_sampled_token_ids_of_the_example() -> None:
    ids = runpy.run_path(str(SEED / "ats_vit.py"))["token_ids"]
    assert ids.shape[0] == 4
    assert ids.shape[1] <= 8
    assert ids.min() >= -1
    assert ids.max() < 256


def test_attention_and_embeddings_of_the_examples() -> None:
    recorded = runpy.run_path(str(SEED / "recorder.py"))
    assert recorded["attns"].shape == (1, 6, 16, 65, 65)
    assert type(recorded["v"]).__name__ == "ViT"
    assert runpy.run_path(str(SEED / "extractor.py"))["embeddings"].shape == (1, 65, 1024)
