"""Recipes are plain data, refuse what cannot be, and follow their schedules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitblocks.train import PRESETS, Recipe, preset
from vitblocks.train.recipe import read_config
from vitblocks.train.schedule import learning_rate, weight_decay


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    recipe = preset(name)
    assert Recipe.of(json.loads(json.dumps(recipe.data()))).data() == json.loads(json.dumps(recipe.data())) | {
        key: getattr(recipe, key) for key in ("freeze", "lora_targets", "randaugment")
    }
    assert PRESETS[name].source
    assert preset(name, epochs=50, warmup_epochs=1).epochs == 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": -1.0}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"objective": "magic"}, "objective"),
        ({"precision": "fp16"}, "precision"),
        ({"batch": 10, "micro_batch": 3}, "micro_batch"),
        ({"warmup_epochs": 200}, "warmup_epochs"),
        ({"randaugment": (2, 31)}, "randaugment"),
        ({"layer_decay": 0.5, "objective": "mae"}, "layer_decay"),
        ({"ema": 1.0}, "ema"),
        ({"freeze": ("embed*", 3)}, "freeze"),
        ({"preprocessing": 3}, "preprocessing"),
        ({"epoch": 3}, "did you mean epochs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        Recipe.of(changes)


def test_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(epochs=10, warmup_epochs=2, lr=1.0, warmup_lr=0.0, min_lr=0.1, batch=64, lr_batch=32)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[19] == pytest.approx(2.0)  # 20 steps up, to twice the rate for twice the batch
    assert rates[9] == pytest.approx(1.0)
    assert rates[60] == pytest.approx((2.0 + 0.1) / 2)
    assert rates == sorted(rates[:20]) + sorted(rates[20:], reverse=True)
    assert 0.1 < rates[-1] < 0.11


def test_usual_warmup() -> None:
    for epochs, expected in ((10, 1), (200, 5)):
        usual, same = Recipe(epochs=epochs), Recipe(epochs=epochs, warmup_epochs=expected)
        for step in range(0, 200, 7):
            assert learning_rate(usual, step, 20 * epochs) == learning_rate(same, step, 20 * epochs)


def test_weight_decay_follows_a_cosine() -> None:
    recipe = Recipe(weight_decay=0.0, weight_decay_end=0.4)
    assert [weight_decay(recipe, step, 100) for step in (0, 50, 100)] == pytest.approx([0.0, 0.2, 0.4])
    assert weight_decay(Recipe(weight_decay=0.3), 7, 10) == 0.3


def test_config_files(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text('{"epochs": 3}')
    assert read_config(tmp_path / "good.json") == {"epochs": 3}
    for text in ("{", "[1]", "\x00"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=r"bad\.json"):
            read_config(tmp_path / "bad.json")


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match="deit"):
        preset("diet")
