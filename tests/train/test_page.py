"""The page shows what the run's files say, and escapes what came from outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vitblocks.train import Recipe, fit
from vitblocks.train.page import smoothed, write_page

from .worker import images, model

pytest.importorskip("accelerate")
pytest.importorskip("matplotlib")


def test_page(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch=8, warmup_epochs=0)
    held_out = images(12)
    held_out.classes = ["<b>", "one", "two"]
    result = fit(model(recipe), (images(), held_out), recipe, folder=tmp_path)
    text = write_page(replace(result, broken=["<i>.png: cut off"])).read_text()
    assert result.evaluation is not None
    assert f"held-out accuracy <b>{result.accuracy:.2%}</b>" in text
    assert "&lt;b&gt;" in text
    assert "<i>.png" not in text
    wrong = len(result.evaluation.worst(10))
    assert text.count("<figure>") == wrong > 0
    assert text.count("data:image/png") == wrong + 1
    counts = result.evaluation.confusion
    assert int(counts.sum()) == 12
    assert int(counts.diagonal().sum()) == round(12 * (result.accuracy or 0))


def test_smoothed() -> None:
    assert smoothed([1.0, 0.0, 0.0], over=0.5) == [1.0, 0.5, 0.25]
