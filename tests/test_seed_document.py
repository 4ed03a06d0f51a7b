"""The usage examples of the document this library started from run here with only their import lines changed."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

SEED = Path(__file__).parent / "seed"
NEEDS = {"efficient_nystrom": "nystrom_attention", "efficient_x_transformers": "x_transformers"}
SLOW = {"efficient_nystrom", "mae", "simmim"}  # an image of 2048 x 2048 pixels; a training step of a large model
RESULTS: dict[str, dict[str, tuple[int, ...]]] = {"ats_vit": {"preds": (4, 1000)}}
"""The shapes of the results, where they are not one image's logits."""


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
    names = runpy.run_path(str(path))
    expected = RESULTS.get(path.stem, {})
    if "loss" in names:
        assert names["loss"].isfinite()
        assert (tmp_path / "trained-vit.pt").exists()
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
