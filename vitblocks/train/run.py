"""A run: its steps, and what is evaluated, told and kept on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from ..checkpoint import save, save_pretrained
from ..checkpoint.files import write_whole
from ..recipe import describe
from .data.images import Images
from .data.reading import Reading
from .evaluating import Evaluation, evaluate, mean_loss
from .keeping import MODEL, Folder
from .recipe import Recipe
from .result import Result
from .running import Steps
from .sharding import gather
from .state import like, put_state, state_of, whole
from .stopping import Asked, NotFinite, Stopped
from .watching import Watcher

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


@dataclass
class Progress:
    """What is known of a run beside tensors, as it is kept in a checkpoint."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


def on_one(accelerator: Accelerator, do: Callable[[], T]) -> T:
    """What the main process found, in every process; an error of it, too."""
    if accelerator.num_processes == 1:
        return do()
    from accelerate.utils import broadcast_object_list

    said: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            said[0] = do()
        except (OSError, ValueError) as error:
            said[1] = error
    broadcast_object_list(said)
    if said[1] is not None:
        raise said[1]
    found: T = said[0]
    return found


class Run:
    """A run: steps, epochs, checkpoints."""

    def __init__(
        self,
        recipe: Recipe,
        steps: Steps,
        folder: Folder,
        held_out: Images | None,
        save_every: int,
        watchers: Sequence[Watcher],
        accelerator: Accelerator,
    ) -> None:
        self.recipe, self.steps, self.folder, self.held_out = recipe, steps, folder, held_out
        self.save_every, self.watchers, self.accelerator = save_every, watchers, accelerator
        self.progress = Progress()
        self.evaluation: Evaluation | None = None

    def begin(self, resume: bool) -> None:
        """Make the folder, or go on from the last checkpoint in it. Errors: as :meth:`Folder.begin`."""
        begun = on_one(self.accelerator, lambda: self.folder.begin(self.recipe, resume))
        if begun is not None:
            put_state(self.steps.task, self.steps.optimizer, self.steps.average, begun[0])
            self.progress = Progress(**begun[1])

    def __call__(self, asked: Asked) -> None:
        """Raises NotFinite or Stopped, with the last checkpoint in its message."""
        self._tell("start", self.steps.steps, self.steps.steps_per_epoch, self.progress.step)
        try:
            for record in self.steps(self.progress.step, asked):
                self._step(record)
        except NotFinite as error:
            kept = self.folder.checkpoints()
            words = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
            raise NotFinite(f"{error}; {words}") from None
        finally:
            self._tell("stop")

    def _step(self, record: dict[str, Any]) -> None:
        signal = record.pop("signal", 0)
        self.progress.step = record["step"]
        self.progress.seconds += record["seconds"]
        ends = record["step"] % self.steps.steps_per_epoch == 0
        if ends:
            record |= {"epoch": record["step"] // self.steps.steps_per_epoch, **self._held_out()}
        on_one(self.accelerator, lambda: self.folder.log(record))
        self._tell("step", record)
        last = record["step"] == self.steps.steps
        if record["step"] % self.save_every == 0 or last or signal:
            path = self.save()
            if signal and not last:
                raise Stopped(
                    signal, f"stopped after step {record['step']} of {self.steps.steps}; {path} has everything to go on"
                )

    def _tell(self, what: str, *about: Any) -> None:
        if self.accelerator.is_main_process:
            for watcher in self.watchers:
                getattr(watcher, what)(*about)

    def _averaged(self) -> Any:
        return nullcontext() if self.steps.average is None else self.steps.average.in_place()

    def _held_out(self) -> dict[str, Any]:
        """What the model, or its average, does on the images held out; the best weights are written."""
        with self._averaged():
            found = self._evaluated()
            score = found.get("held_out_accuracy", -found.get("held_out_loss", float("inf")))
            if self.held_out is not None and (self.progress.best is None or score > self.progress.best):
                self.progress.best, self.progress.best_step = score, self.progress.step
                weights = {name: whole(value) for name, value in self.steps.task.model.state_dict().items()}
                on_one(self.accelerator, lambda: self.folder.write_best(weights, self.progress.step))
        return found

    def _evaluated(self) -> dict[str, Any]:
        task = self.steps.task
        if self.held_out is None or task.normalizes:
            return {}
        if not task.labelled:
            reading = Reading(self.held_out, self.steps.preprocessing)
            loss = mean_loss(
                self.steps.loss,
                self.held_out,
                reading,
                self.steps.micro_batch,
                self.accelerator.device,
                self.steps.workers,
            )
            return {"held_out_loss": loss}
        self.evaluation = found = self._told()
        return {"held_out_loss": found.loss, "held_out_accuracy": found.accuracy}

    def _told(self) -> Evaluation:
        assert self.held_out is not None
        many = self.accelerator.num_processes > 1
        return evaluate(
            self.steps.task.model,
            self.held_out,
            self.steps.preprocessing,
            batch=max(self.steps.micro_batch, 64),
            workers=self.steps.workers,
            processes=(self.accelerator.process_index, self.accelerator.num_processes),
            total=(lambda x: self.accelerator.reduce(x.to(self.accelerator.device), "sum").cpu())
            if many
            else lambda x: x,
        )

    def save(self) -> Path:
        """Write a checkpoint of all that training goes by."""
        self.progress.broken = sorted({*self.progress.broken, *self._all_broken()})
        tensors = state_of(self.steps.task, self.steps.optimizer, self.steps.average)
        return on_one(self.accelerator, lambda: self.folder.write(tensors, vars(self.progress)))

    def _all_broken(self) -> set[str]:
        found = self.steps.broken | ({*self.evaluation.broken} if self.evaluation else set())
        if self.accelerator.num_processes == 1:
            return found
        from accelerate.utils import gather_object

        return {*gather_object(sorted(found))}

    def take_best(self) -> None:
        """The best weights into the model."""
        best = on_one(self.accelerator, self.folder.best)
        if best is not None:
            _load(self.steps.task.model, best)
        elif self.steps.average is not None:
            _load(self.steps.task.model, self.steps.average.values)

    def finished(self, copy: nn.Module | None = None) -> Result:
        """What it came to, which is written with the model: of a sharded one with its whole ``copy``."""
        if self.held_out is not None and self.steps.task.labelled:
            self.evaluation = self._told()
        trained = self.steps.task.model
        model: Any = (trained if copy is None else gather(trained, copy)).eval()
        model.preprocessing = self.steps.preprocessing.data()
        if self.steps.task.labelled:
            model.labels = list(self.steps.images.classes)
        accuracy = None if self.evaluation is None else self.evaluation.accuracy
        self.progress.broken = sorted({*self.progress.broken, *self._all_broken()})
        result = Result(
            model,
            self.folder.path,
            self.progress.step,
            self.progress.seconds,
            accuracy,
            self.evaluation,
            self.progress.broken,
            self.held_out,
            self.steps.preprocessing,
        )
        on_one(self.accelerator, lambda: _write_model(model, self.folder.path / MODEL))
        on_one(self.accelerator, lambda: self._write_results(result))
        return result

    def _write_results(self, result: Result) -> None:
        said = {
            "steps": result.steps,
            "seconds": round(result.seconds, 3),
            "accuracy": result.accuracy,
            "best_step": self.progress.best_step,
            "broken": result.broken,
        }
        write_whole(self.folder.path / "results.json", [f"{json.dumps(said, indent=2)}\n".encode()])


def _load(model: nn.Module, weights: Any) -> None:
    own = model.state_dict()
    model.load_state_dict({name: like(value, own[name]) for name, value in weights.items()})


def _write_model(model: nn.Module, folder: Path) -> None:
    try:
        describe(model)
    except ValueError:  # parts that are not registered: weights are all there is to write
        folder.mkdir(exist_ok=True)
        save(model, folder / "model.safetensors")
        return
    save_pretrained(model, folder)
