"""What is told of a run reaches TensorBoard, and the progress bar says what it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitblocks.train import Bar, Recipe, TensorBoard, fit

from .worker import images, model

pytest.importorskip("accelerate")
RECIPE = Recipe(epochs=2, batch=16, warmup_epochs=1)


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(model(RECIPE), (images(), images(12)), RECIPE, folder=tmp_path, watchers=[TensorBoard(tmp_path / "board")])
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Scalars("held_out_accuracy")] == [3, 6]


def test_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar(16)
    bar.start(6, 3, 0)
    bar.step({"step": 3, "loss": 1.25, "seconds": 0.5, "epoch": 1, "held_out_accuracy": 0.75})
    (task,) = bar.progress.tasks
    assert (task.completed, task.total) == (3, 6)
    assert task.fields == {"epoch": "epoch 1", "loss": "loss 1.2500", "rate": "32 images/s", "told": "held out 75.00%"}
    bar.stop()
    assert (
        capsys.readouterr().err == "epoch 1  loss 1.2500  32 images/s  held out 75.00%\n"
    )  # no terminal, a line for each epoch
