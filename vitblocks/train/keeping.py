"""What is kept of a run on disk: whole checkpoints to go on from, the best weights, and how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checkpoint.files import write_whole
from ..checkpoint.tensor_file import read_tensors, write_tensors
from .recipe import Recipe

RECIPE, METRICS, CHECKPOINTS, BEST, MODEL = "recipe.json", "metrics.jsonl", "checkpoints", "best.safetensors", "model"


class Folder:
    """The folder of a run.

    Args:
        path: made if there is none.
        keep: how many of the last checkpoints stay.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self.keep = path, keep

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, from the first to the last."""
        return sorted((self.path / CHECKPOINTS).glob("step-*.safetensors"))

    def begin(self, recipe: Recipe, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Make the folder, or find what to go on from: tensors, and what is to be known beside them.

        Raises:
            ValueError: there is a run already and ``resume`` was not asked for, or it had another recipe.
            OSError: the folder cannot be made or written to.
        """
        path = self.path / RECIPE
        if path.exists():
            if not resume:
                raise ValueError(f"there is a run in {self.path} already: resume it, or take another folder")
            _same(path, recipe)
        else:
            (self.path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            write_whole(path, [f"{json.dumps(recipe.data(), indent=2)}\n".encode()])
        found = self.checkpoints()
        if not found:
            self._cut(-1)
            return None
        tensors, about = read_tensors(found[-1])
        known: dict[str, Any] = json.loads(about["run"])
        self._cut(known["step"])
        return tensors, known

    def write(self, tensors: Mapping[str, Tensor], known: Mapping[str, Any]) -> Path:
        """Write a checkpoint, whole or not at all, and then remove those that are too many."""
        path = self.path / CHECKPOINTS / f"step-{known['step']:09d}.safetensors"
        write_tensors(path, tensors, {"run": json.dumps(known)})
        for old in self.checkpoints()[: -self.keep]:
            old.unlink()
        return path

    def write_best(self, weights: Mapping[str, Tensor], step: int) -> None:
        write_tensors(self.path / CHECKPOINTS / BEST, weights, {"run": json.dumps({"step": step})})

    def best(self) -> dict[str, Tensor] | None:
        path = self.path / CHECKPOINTS / BEST
        return read_tensors(path)[0] if path.exists() else None

    def log(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        with open(self.path / METRICS, "a", encoding="utf-8") as file:
            file.write(f"{json.dumps(dict(record))}\n")

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged."""
        path = self.path / METRICS
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # a killed process may leave half a line
                continue
        return found

    def _cut(self, step: int) -> None:
        """Take off the metrics what comes after a step, which will be logged again."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        write_whole(self.path / METRICS, ["".join(f"{json.dumps(record)}\n" for record in kept).encode()])


def _same(path: Path, recipe: Recipe) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    now = json.loads(json.dumps(recipe.data()))
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        name = other[0]
        raise ValueError(
            f"{path} has {name}={before.get(name)!r}, and this recipe {now[name]!r}: a run goes on as it began"
        )
