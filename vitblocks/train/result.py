"""What training came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..border import Preprocessing
from .data.images import Images
from .evaluating import Evaluation
from .keeping import Folder


@dataclass(frozen=True)
class Result:
    """What training came to.

    Attributes:
        model: what was trained, with the weights that were kept.
        folder: where everything lies.
        steps: how many were taken in all.
        seconds: of the training steps, those before a resume included.
        accuracy: of the model that was kept, on the images held out; None where there are none, or no labels are learned.
        evaluation: what it says of them.
        broken: images that could not be read, by name, each with the reason.
        held_out, preprocessing: the images held out, and what is done to them.
    """

    model: nn.Module
    folder: Path
    steps: int
    seconds: float
    accuracy: float | None
    evaluation: Evaluation | None
    broken: list[str]
    held_out: Images | None
    preprocessing: Preprocessing

    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, as long as the folder is there: of each step step, loss, lr, norm and seconds; of the last of an epoch also
        epoch, held_out_loss and held_out_accuracy."""
        return Folder(self.folder).metrics()

    def image(self, place: int) -> Tensor:
        """Image ``place`` of those held out as the model takes it, ``(C, H, W)``."""
        assert self.held_out is not None
        return self.preprocessing(self.held_out.image(place))

    def name(self, place: int) -> str:
        """What it is called."""
        assert self.held_out is not None
        return self.held_out.name(place)
