"""Training learns, goes on exactly as if it had not stopped, and says what went wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import describe, load_model
from vitblocks.checkpoint.tensor_file import write_tensors
from vitblocks.residual import DropPath
from vitblocks.train import NotFinite, Recipe, Stopped, fit
from vitblocks.train.data import Labelled
from vitblocks.train.keeping import CHECKPOINTS

from ..border import cases as cases  # which lets peft import torchvision
from .worker import images, model

pytest.importorskip("accelerate")

SHORT = Recipe(epochs=2, batch=8, micro_batch=4, warmup_epochs=1, seed=2)
OPTIONS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "simmim": {},
    "mpp": {},
    "dino": {"num_classes_K": 16, "projection_hidden_size": 16, "local_crops": 1, "projection_bottleneck_size": 8},
    "distillation": {"hard": True},
}


def losses(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in found]


class Interrupt:
    """Ends training at a step, as an error would."""

    def __init__(self, step: int) -> None:
        self.at = step

    def start(self, steps: int, steps_per_epoch: int, done: int) -> None: ...

    def stop(self) -> None: ...

    def step(self, record: Mapping[str, Any]) -> None:
        if record["step"] == self.at:
            raise ZeroDivisionError


def teacher_for(recipe: Recipe) -> nn.Module | None:
    return model(Recipe(seed=9)) if recipe.objective == "distillation" else None


@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("mae", "simmim", "mpp", "distillation") else ())
        for name in OPTIONS
    ],
)
def test_goes_on_exactly(objective: str, tmp_path: Path) -> None:
    """Broken off in an epoch, two steps after a checkpoint, and gone on with: every number, and every weight, is the same."""
    recipe = replace(SHORT, objective=objective, objective_options=OPTIONS[objective], ema=0.9, turn=10.0, mixup=0.2)
    made = {}
    for way in ("whole", "broken off"):
        net = model(recipe)
        watchers = [Interrupt(8)] if way == "broken off" else []
        options: dict[str, Any] = {"folder": tmp_path / way, "teacher": teacher_for(recipe), "save_every": 5}
        if watchers:
            with pytest.raises(ZeroDivisionError):
                fit(net, (images(), images(12)), recipe, watchers=watchers, **options)
            net = model(recipe)
        fit(net, (images(), images(12)), recipe, resume=bool(watchers), **options)
        made[way] = net.state_dict()
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken off")
    assert len(losses(tmp_path / "whole")) == 12
    assert made["whole"].keys() == made["broken off"].keys()
    for name, value in made["whole"].items():
        assert torch.equal(value, made["broken off"][name]), name


def test_learns_and_keeps_a_model(tmp_path: Path) -> None:
    recipe = Recipe(epochs=12, batch=16, lr=1e-2, warmup_epochs=1, label_smoothing=0.1, drop_path=0.1)
    net = model(recipe)
    result = fit(net, (images(), images(30)), recipe, folder=tmp_path / "run")
    assert result.accuracy is not None
    assert result.accuracy > 0.9
    assert result.steps == 36
    kept = load_model(tmp_path / "run" / "model")
    assert list(kept.labels) == ["0", "1", "2"]
    assert kept.preprocessing["size"] == [8, 8]
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(kept(image), net(image))
    assert {part.rate for part in net.modules() if isinstance(part, DropPath)} == {0.0}
    assert describe(kept) == describe(model(recipe))
    said = json.loads((tmp_path / "run" / "results.json").read_text())
    assert said["accuracy"] == result.accuracy
    assert len(list((tmp_path / "run" / CHECKPOINTS).glob("step-*"))) == 2


def test_the_same_whatever_the_micro_batch(tmp_path: Path) -> None:
    """Gradients of micro-batches add up to those of the batch, where nothing is drawn for each."""
    found = []
    for micro_batch in (8, 2):
        recipe = replace(SHORT, micro_batch=micro_batch)
        fit(model(recipe), images(), recipe, folder=tmp_path / str(micro_batch))
        found.append([record["loss"] for record in losses(tmp_path / str(micro_batch))])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    fit(model(SHORT), images(), SHORT, folder=tmp_path)
    with pytest.raises(ValueError, match="resume"):
        fit(model(SHORT), images(), SHORT, folder=tmp_path)
    with pytest.raises(ValueError, match="lr"):
        fit(model(SHORT), images(), replace(SHORT, lr=1.0), folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="another model"):
        fit(model(SHORT, dim=32), images(), SHORT, folder=tmp_path, resume=True)
    before = losses(tmp_path)
    fit(model(SHORT), images(), SHORT, folder=tmp_path, resume=True)  # all was done: nothing more is
    assert losses(tmp_path) == before


class Poison(nn.Module):
    """Passes tokens on, until it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x / 0 if self.calls > 15 else x


def test_nan_says_where_it_began(tmp_path: Path) -> None:
    net = model(SHORT)
    net.norm = nn.Sequential(net.norm, Poison())
    with pytest.raises(NotFinite) as error:
        fit(net, images(), SHORT, folder=tmp_path, save_every=3)
    words = str(error.value)
    assert "step 8, epoch 2" in words
    assert "norm.1 (Poison)" in words
    assert "step-000000006.safetensors" in words
    assert all(value.isfinite().all() for value in net.state_dict().values())
    assert len(losses(tmp_path)) == 7


def test_broken_images_are_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = pytest.importorskip("PIL.Image")
    paths = []
    for i in range(12):
        paths.append(tmp_path / f"{i}.png")
        image.new("L", (8, 8), 20 * i).save(paths[-1])
    paths[4].write_bytes(b"")
    data = Labelled(paths, [i % 3 for i in range(12)])
    recipe = replace(SHORT, batch=4)
    result = fit(model(recipe), (data, data), recipe, folder=tmp_path / "run")
    assert len(result.broken) == 1
    assert "4.png" in result.broken[0]
    assert caplog.text.count("another takes its place") == 1
    assert result.evaluation is not None
    assert len(result.evaluation.labels) == 11


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        ({"batch": 64}, images(), "batch"),
        ({}, Labelled(torch.zeros(9, 8, 8, dtype=torch.uint8), [0] * 9, ["a", "b", "c"]), "one class only"),
        ({"freeze": ("nothing*",)}, images(), "nothing"),
        ({"freeze": ("*",)}, images(), "leaves nothing"),
        ({"objective": "mae", "objective_options": {"depth": 3}}, images(), "depth"),
        ({"objective": "distillation"}, images(), "teacher"),
        ({"randaugment": (2, 9)}, images(), "3 channels"),
    ],
)
def test_refused_before_anything_is_written(changes: Any, data: Labelled, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        fit(model(SHORT), data, replace(SHORT, **changes), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_frozen_stays(tmp_path: Path) -> None:
    recipe = replace(SHORT, freeze=("embed*", "*.attn.*"))
    net = model(recipe)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fit(net, images(), recipe, folder=tmp_path)
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("embed") for name in moved)
    assert any(name.startswith("head") for name in moved)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_lora(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    recipe = replace(SHORT, lora=2, lora_targets=("qkv",), lr=1e-2)
    net = model(recipe)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    fit(net, images(), recipe, folder=tmp_path)
    assert net.state_dict().keys() == before.keys()  # merged
    moved = {name for name, value in net.state_dict().items() if not torch.allclose(value, before[name], atol=1e-6)}
    assert moved == {name for name in before if name.endswith("qkv.weight") or name.startswith("head")}
    kept = load_model(tmp_path / "model")
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(kept(image), net.eval()(image))


def test_bfloat16_and_checkpointing_keep_float32_weights(tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=1, precision="bf16", checkpointing=True, warmup_epochs=0)
    net = model(recipe)
    fit(net, images(), recipe, folder=tmp_path)
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert not any(getattr(stage, "checkpointing", False) for stage in net.stages)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves(number: signal.Signals, tmp_path: Path) -> None:
    class Ask(Interrupt):
        def step(self, record: Mapping[str, Any]) -> None:
            if record["step"] == self.at:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="after step 5 of 12") as stopped:
        fit(model(SHORT), images(), SHORT, folder=tmp_path / "stopped", watchers=[Ask(4)])
    assert stopped.value.signal == number
    assert signal.getsignal(number) == before
    fit(model(SHORT), images(), SHORT, folder=tmp_path / "stopped", resume=True)
    fit(model(SHORT), images(), SHORT, folder=tmp_path / "whole")
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


def test_a_full_disk_leaves_whole_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(path: Path, *about: Any) -> None:
        if len(written) == 2:
            raise OSError(28, "cannot save: No space left on device", str(path))
        written.append(path)
        write_tensors(path, *about)

    monkeypatch.setattr("vitblocks.train.keeping.write_tensors", write)
    with pytest.raises(OSError, match="No space left"):
        fit(model(SHORT), images(), SHORT, folder=tmp_path, save_every=2)
    assert sorted((tmp_path / CHECKPOINTS).iterdir()) == written
    monkeypatch.undo()
    fit(model(SHORT), images(), SHORT, folder=tmp_path, save_every=2, resume=True)
    assert [record["step"] for record in losses(tmp_path)] == [*range(1, 13)]
