"""What is told of a run while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..extras import extra


class Watcher(Protocol):
    """Is told of the beginning, every step and the end, in the main process alone."""

    def start(self, steps: int, steps_per_epoch: int, done: int) -> None:
        """Of so many steps, an epoch of so many, so many were done before."""

    def step(self, record: Mapping[str, Any]) -> None:
        """What a step came to (step, loss, lr, norm, seconds), and at the end of an epoch what the epoch did (epoch, held_out_accuracy)."""

    def stop(self) -> None:
        """No more comes, whatever the reason."""


class Bar:
    """A progress bar on a terminal: loss, held-out accuracy, images a second, and the time that is left. Elsewhere a line for each epoch.

    Args:
        batch: images of a step.
        quiet: draw nothing.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(self, batch: int, *, quiet: bool = False) -> None:
        with extra("rich", "a progress bar"):
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
        self.batch, self.quiet = batch, quiet
        self.console: Any = Console(stderr=True, soft_wrap=True)
        drawn = not quiet and (self.console.is_terminal or self.console.is_jupyter)
        columns = (
            TextColumn("{task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}  {task.fields[rate]}  {task.fields[told]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, disable=not drawn)
        self.bar: Any = None
        self.loss: float | None = None
        self.steps_per_epoch = 1

    def start(self, steps: int, steps_per_epoch: int, done: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.progress.start()
        self.bar = self.progress.add_task("", total=steps, completed=done, epoch="", loss="", rate="", told="")

    def step(self, record: Mapping[str, Any]) -> None:
        self.loss = record["loss"] if self.loss is None else 0.95 * self.loss + 0.05 * record["loss"]
        told = ""
        if "held_out_accuracy" in record:
            told = f"held out {record['held_out_accuracy']:.2%}"
        elif "held_out_loss" in record:
            told = f"held out {record['held_out_loss']:.4f}"
        words: dict[str, Any] = {
            "epoch": f"epoch {(record['step'] - 1) // self.steps_per_epoch + 1}",
            "loss": f"loss {self.loss:.4f}",
            "rate": f"{self.batch / max(record['seconds'], 1e-9):,.0f} images/s",
            **({"told": told} if told else {}),
        }
        self.progress.update(self.bar, completed=record["step"], **words)
        if self.progress.disable and not self.quiet and "epoch" in record:
            self.console.print("  ".join(words.values()), highlight=False)

    def stop(self) -> None:
        self.progress.stop()


class TensorBoard:
    """Every number to TensorBoard.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        with extra("tensorboard", "a log for TensorBoard"):
            from torch.utils.tensorboard import SummaryWriter
        self.writer: Any = SummaryWriter(str(folder))

    def start(self, steps: int, steps_per_epoch: int, done: int) -> None:
        pass

    def step(self, record: Mapping[str, Any]) -> None:
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, record["step"])

    def stop(self) -> None:
        self.writer.flush()
