"""What a conversion did, stage by stage, and the way back."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..inspect.table import aligned
from .drift import Drift


@dataclass
class Stage:
    """What one stage came to, on the images held out.

    Attributes:
        name: ``"swap"``, ``"refit"``, ``"align"``, ``"distil"`` or ``"labels"``.
        seconds, steps: that it took.
        drift: from the original.
        accuracy: with labels; None without.
        layers: how far the stream behind each new layer is from the original's, as a share of its variance.
        parameters: of the model.
        why: what was done, what was left out, and the reason.
    """

    name: str
    seconds: float
    steps: int
    drift: Drift
    accuracy: float | None
    layers: dict[str, float]
    parameters: int
    why: str


@dataclass
class Conversion:
    """A converted model, and how it came about; ``print`` gives a line for each stage.

    Attributes:
        model: what was converted, a copy.
        original: the model as it was.
        assignment: what each layer became.
        stages: what was done.
    """

    model: nn.Module
    original: nn.Module
    assignment: dict[str, str]
    stages: list[Stage] = field(default_factory=list)
    kept: list[dict[str, Tensor]] = field(default_factory=list, repr=False)

    def undo(self) -> Stage:
        """Take the last stage back, and return what it was; after the swap is undone the model is a copy of the original.

        Raises:
            ValueError: there is no stage left.
        """
        if not self.stages:
            raise ValueError("undo was called for every stage before: the model is as it was")
        self.kept.pop()
        if self.kept:
            self.model.load_state_dict(self.kept[-1])
        else:
            for layer in self.assignment:
                parent, _, child = layer.rpartition(".")
                setattr(self.model.get_submodule(parent), child, deepcopy(self.original.get_submodule(layer)))
            self.model.load_state_dict(self.original.state_dict())
        return self.stages.pop()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model, its composition and weights, for :func:`vitblocks.load_model`, and the report beside it.

        Raises:
            TypeError: the model is none of vitblocks, which know how they are saved.
        """
        save: Any = getattr(self.model, "save_pretrained", None)
        if save is None:
            raise TypeError(f"model must be a vitblocks.Model to be saved, got {type(self.model).__name__}")
        save(folder)
        write_whole(Path(folder) / "conversion.json", [json.dumps(self.data(), indent=1).encode()])

    def data(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"assignment": self.assignment, "stages": [asdict(stage) for stage in self.stages]}

    def __str__(self) -> str:
        head = ["stage", "seconds", "steps", "tokens", "logits", "agreement", "accuracy", "parameters"]
        rows = [
            [
                s.name,
                f"{s.seconds:.1f}",
                str(s.steps),
                f"{s.drift.tokens:.3f}",
                f"{s.drift.logits:.4f}",
                f"{s.drift.agreement:.1%}",
                "" if s.accuracy is None else f"{s.accuracy:.1%}",
                f"{s.parameters:,}",
            ]
            for s in self.stages
        ]
        lines = ["  ".join(cells).rstrip() for cells in aligned([head, *rows], left=1)]
        return "\n".join([*lines, *(f"{s.name}: {s.why}" for s in self.stages)])
