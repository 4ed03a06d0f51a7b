"""Training from beginning to end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from ..border import Preprocessing, preprocess
from ..checkpoint import save, save_pretrained
from ..checkpoint.files import write_whole
from ..model import Model
from ..recipe import describe
from .data.images import Images
from .data.reading import Reading
from .data.sources import Data
from .data.streams import Stream
from .evaluating import Evaluation, evaluate, mean_loss
from .groups import parameter_groups
from .keeping import MODEL, Folder
from .preparing import prepared
from .recipe import Recipe
from .running import Steps, micro_batch_of
from .seeds import seed_of
from .state import put_state, state_of, whole
from .stopping import Asked, NotFinite, Stopped, listening
from .tasks import Setting, Task, task_of
from .watching import Watcher

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


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

    def image(self, place: int) -> Tensor:
        """Image ``place`` of those held out as the model takes it, ``(C, H, W)``."""
        assert self.held_out is not None
        return self.preprocessing(self.held_out.image(place))

    def name(self, place: int) -> str:
        """What it is called."""
        assert self.held_out is not None
        return self.held_out.name(place)


@dataclass
class Progress:
    """What is known of a run beside tensors, as it is kept in a checkpoint."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)


def fit(
    model: nn.Module,
    data: Data | tuple[Images, Images | None] | Images,
    recipe: Recipe,
    *,
    folder: str | os.PathLike[str],
    teacher: nn.Module | None = None,
    resume: bool = False,
    keep: int = 2,
    save_every: int | None = None,
    workers: int = 0,
    watchers: Sequence[Watcher] = (),
) -> Result:
    """Train a model by a recipe. On several processes (``accelerate launch``) each calls this with the same arguments.

    What came out lies in ``folder``: ``model/`` (see :func:`vitblocks.load_model`), ``metrics.jsonl``, ``results.json``, the recipe, and
    checkpoints, from which ``resume=True`` goes on as if nothing had happened: with the same losses to the last bit on the same machine.
    What is kept in the end is what was best on the images held out, after an epoch; the last where there are none. The model is then that.

    Args:
        model: any module ``images -> (B, classes)``; some objectives need a :class:`~vitblocks.Model`.
        data: what is trained on, or that and what is held out.
        recipe: how.
        folder: made if there is none.
        teacher: for distillation, any module ``images -> (B, classes)``, or with ``logits`` in what it gives.
        resume: go on from the last checkpoint in ``folder``, if there is one.
        keep: how many of the last checkpoints stay.
        save_every: steps between two checkpoints; those of an epoch if None.
        workers: processes that read images, for each process that trains.
        watchers: what is told of every step and epoch.

    Raises:
        ImportError: an extra that the recipe needs is not installed.
        ValueError: the recipe cannot be done with this model or these images; nothing is written then. Or there is a run already.
        NotFinite: a loss or gradient is NaN or infinite; the message says where it began, and what the last checkpoint is.
        Stopped: SIGTERM or Ctrl-C came; a checkpoint was written.
        OSError: a file cannot be written, as on a full disk. The checkpoints that were there are whole.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ImportError("training needs accelerate: pip install 'vitblocks[train]'") from error
    train, held_out = data if isinstance(data, tuple) else (data, None)
    _check(recipe, model, train)
    # Without being told, several processes on a CPU would not know of one another.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    preprocessing = preprocessing_for(model, recipe)
    setting = Setting(preprocessing, len(train) // recipe.batch, teacher)
    torch.manual_seed(seed_of(recipe.seed, "parts"))
    with prepared(model, recipe) as adapted:
        task = task_of(recipe, model, setting)
        optimizer = optimizer_of(recipe, task)
        micro_batch_of(recipe, accelerator.num_processes)
        if teacher is not None:
            teacher.to(accelerator.device)
        task.model.to(accelerator.device)
        # What accelerate wraps one by one where parameters are sharded (FSDP).
        vars(task.module)["_no_split_modules"] = sorted({type(block).__name__ for block in _blocks(model)})
        steps = Steps(recipe, task, setting, train, accelerator, optimizer, workers)
        place = Folder(Path(folder), keep)
        begun = _on_one(accelerator, lambda: place.begin(recipe, resume))
        run = _Run(recipe, steps, place, held_out, save_every or setting.steps_per_epoch, watchers, accelerator)
        if begun is not None:
            put_state(task, steps.optimizer, steps.average, begun[0])
            run.progress = Progress(**begun[1])
        with listening() as asked:
            run(asked)
        run.take_best()
        if adapted is not None:
            adapted.merge_and_unload()
    return run.finished()


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [block for _, block in model.blocks()] if isinstance(model, Model) else []


def _check(recipe: Recipe, model: nn.Module, images: Images) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module, got {model!r:.80}")
    if len(images) < recipe.batch:
        raise ValueError(f"batch must be at most the {len(images)} images, got {recipe.batch}")
    supervised = recipe.objective in ("supervised", "distillation")
    if supervised and not isinstance(images, Stream) and len({*images.labels}) < 2:
        raise ValueError(
            f"the images are of one class only, {images.classes[images.labels[0]]!r}: there is nothing to tell apart"
        )


def preprocessing_for(model: nn.Module, recipe: Recipe) -> Preprocessing:
    """What is done to images: what the recipe says, or came with the model, or whole images where nothing is cut out in training."""
    if recipe.preprocessing is not None:
        return Preprocessing(**recipe.preprocessing)
    found = preprocess(model)
    if recipe.size is not None:
        found = found.of_size((recipe.size, recipe.size))
    if getattr(model, "preprocessing", None) is None and recipe.crop == 1.0:
        return replace(found, resize=found.size)
    return found


def optimizer_of(recipe: Recipe, task: Task) -> torch.optim.Optimizer:
    """AdamW on what a task trains, in groups whose names and scales the schedule reads."""
    # A decay of 1 only to see which are decayed: the schedule sets the numbers.
    groups = parameter_groups(task.grouped, 1.0, layer_decay=recipe.layer_decay)
    for group in groups:
        group["decayed"] = group["weight_decay"] > 0
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps)


def _on_one(accelerator: Accelerator, do: Callable[[], T]) -> T:
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


class _Run:
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

    def __call__(self, asked: Asked) -> None:
        """Raises NotFinite or Stopped, with the last checkpoint in its message."""
        self._tell("start", self.steps.steps, self.steps.steps_per_epoch, self.progress.step)
        try:
            for record in self.steps(self.progress.step, asked):
                self._step(record)
        except NotFinite as error:
            last = [*self.folder.checkpoints(), None][-1 if not self.folder.checkpoints() else -2]
            words = "there is no checkpoint yet" if last is None else f"the last good checkpoint is {last}"
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
        _on_one(self.accelerator, lambda: self.folder.log(record))
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
                _on_one(self.accelerator, lambda: self.folder.write_best(weights, self.progress.step))
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
        return _on_one(self.accelerator, lambda: self.folder.write(tensors, vars(self.progress)))

    def _all_broken(self) -> set[str]:
        found = self.steps.broken | ({*self.evaluation.broken} if self.evaluation else set())
        if self.accelerator.num_processes == 1:
            return found
        from accelerate.utils import gather_object

        return {*gather_object(sorted(found))}

    def take_best(self) -> None:
        """The best weights into the model."""
        best = _on_one(self.accelerator, self.folder.best)
        if best is not None:
            _load(self.steps.task.model, best)
        elif self.steps.average is not None:
            _load(self.steps.task.model, self.steps.average.values)

    def finished(self) -> Result:
        """What it came to, which is written with the model."""
        model: Any = self.steps.task.model.eval()
        if self.held_out is not None and self.steps.task.labelled:
            self.evaluation = self._told()
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
        _on_one(self.accelerator, lambda: _write_model(model, self.folder.path / MODEL))
        _on_one(self.accelerator, lambda: self._write_results(result))
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
    from .state import like

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
