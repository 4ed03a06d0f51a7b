"""The whole conversion: swap, refit, align, distil, labels; with a report of each, and the way back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..checkpoint.tensor_file import read_tensors, write_tensors
from ..inspect.frames import evaluating
from ..inspect.table import aligned
from .align import align
from .distil import Trained, distil
from .drift import Drift, accuracy, answers, drift
from .kinds import Kind
from .loop import Training
from .planning import Plan, converted
from .refit import refit
from .watching import watching


@dataclass(frozen=True)
class Settings:
    """What is done, and how long. A stage of 0 steps is left out.

    Attributes:
        refit: whether projections are refitted first.
        align: steps of training each new layer alone, for kinds that can give what the old one gave.
        distil: steps end to end by the original's answers.
        labels: steps by labels, too, where there are any.
        align_lr, lr: learning rates of aligning, and of what follows.
        trained: what is trained after aligning: ``"all"``, or ``"new"`` layers alone.
        lora: rank of low-rank adaptors in place of that; None for none.
        batch, check_every, patience, seed: see :class:`~vitblocks.convert.Training`.
    """

    refit: bool = True
    align: int = 100
    distil: int = 100
    labels: int = 0
    align_lr: float = 1e-3
    lr: float = 3e-4
    trained: Trained = "all"
    lora: int | None = None
    batch: int = 32
    check_every: int = 10
    patience: int = 5
    seed: int = 0

    def training(self, steps: int, lr: float) -> Training:
        return Training(steps, lr, self.batch, self.check_every, self.patience, seed=self.seed)


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


def convert(
    model: nn.Module,
    to: Kind | Plan | Mapping[str, str],
    images: Tensor,
    *,
    kinds: Sequence[Kind] = (),
    held_out: Tensor | None = None,
    labels: Tensor | None = None,
    held_out_labels: Tensor | None = None,
    settings: Settings | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Conversion:
    """Convert layers of a trained model to other kinds, and win back what that costs; stage by stage, by what the original answers.

    1. *swap*: each layer in its new kind, with every weight that both have;
    2. *refit*: projections in closed form (:func:`~vitblocks.convert.refit`), no steps;
    3. *align*: layers alone (:func:`~vitblocks.convert.align`), for kinds in which tokens see all others: windows cannot give what global
       attention gave, and are made worse by being asked to;
    4. *distil*: the whole (:func:`~vitblocks.convert.distil`);
    5. *labels*: the same with labels.

    Args:
        model: any model of parts with global attention, adopted ones included; it is left as it is.
        to: one kind for all global attentions, or what each layer becomes: a plan, or names of kinds by layer.
        images: without labels, ``(B, channels, height, width)``, on the model's device.
        kinds: those that ``to`` names.
        held_out: images to stop by and to report on; the last fifth of ``images`` if None.
        labels, held_out_labels: classes ``(B,)``, for the last stage and for accuracy; they may be missing.
        settings: what is done, and how long.
        folder: where each stage is kept, and every look at the images held out within it: the same call goes on from there.

    Raises:
        ValueError: nothing is to be converted, a kind is unknown or does not fit, there are too few images, or the folder is of another
            conversion.
    """
    from .kinds import global_layers

    settings = Settings() if settings is None else settings
    if isinstance(to, Kind):
        kinds, to = [to], dict.fromkeys(global_layers(model), to.name)
    assignment = to.changed if isinstance(to, Plan) else dict(to)
    if not assignment:
        raise ValueError("to must change at least one layer")
    if held_out is None:
        cut = len(images) - max(len(images) // 5, 1)
        images, held_out = images[:cut], images[cut:]
        if labels is not None:
            labels, held_out_labels = labels[:cut], labels[cut:]
    if len(images) < 4:
        raise ValueError(f"images must be at least 4 beside those held out, got {len(images)}")
    student = converted(model, assignment, kinds, images[: settings.batch])
    run = _Run(Conversion(student, model, assignment), kinds, images, held_out, labels, held_out_labels, settings)
    run.keep = _Keep(None if folder is None else Path(folder), assignment, settings)
    run()
    return run.conversion


@dataclass
class _Run:
    """The stages of one conversion."""

    conversion: Conversion
    kinds: Sequence[Kind]
    images: Tensor
    held_out: Tensor
    labels: Tensor | None
    held_out_labels: Tensor | None
    settings: Settings
    keep: _Keep = field(init=False)

    def __call__(self) -> None:
        known = {kind.name: kind for kind in self.kinds}
        assignment = self.conversion.assignment
        able = [layer for layer, name in assignment.items() if known[name].sees_all and self._trainable(layer)]
        unable = sorted({name for name in assignment.values() if not known[name].sees_all})
        self.before = answers(self.conversion.original, self.held_out, self.settings.batch)
        self._stage("swap", lambda _: (0, f"{len(assignment)} layer(s): {_counted(assignment)}"))
        if self.settings.refit:
            self._stage("refit", self._refit)
        if self.settings.align and able:
            left = f"; not {', '.join(unable)}, whose tokens do not see all others" if unable else ""
            self._stage("align", lambda path: self._align(path, able, left))
        if self.settings.distil:
            self._stage("distil", lambda path: self._distil(path, self.settings.distil, None))
        if self.settings.labels and self.labels is not None:
            self._stage("labels", lambda path: self._distil(path, self.settings.labels, self.labels))

    def _trainable(self, layer: str) -> bool:
        return any(True for _ in self.conversion.model.get_submodule(layer).parameters())

    def _stage(self, name: str, do: Callable[[Path | None], tuple[int, str]]) -> None:
        """Do a stage, or take it from the folder if it was done before."""
        conversion = self.conversion
        stage = self.keep.done(name, conversion.model)
        if stage is None:
            start = time.perf_counter()
            steps, why = do(self.keep.path(f"{name}.loop"))
            stage = self._reported(name, time.perf_counter() - start, steps, why)
            self.keep.write(stage, conversion.model)
        conversion.stages.append(stage)
        conversion.kept.append({key: value.detach().clone() for key, value in conversion.model.state_dict().items()})

    def _reported(self, name: str, seconds: float, steps: int, why: str) -> Stage:
        model = self.conversion.model
        after = answers(model, self.held_out, self.settings.batch)
        right = None if self.held_out_labels is None else accuracy(after, self.held_out_labels)
        count = sum(p.numel() for p in model.parameters())
        return Stage(name, seconds, steps, drift(self.before, after), right, self._layers(), count, why)

    @torch.no_grad()
    def _layers(self) -> dict[str, float]:
        """How far the stream behind each new layer is from the original's."""
        both = (self.conversion.original, self.conversion.model)
        layers, part = list(self.conversion.assignment), self.held_out[: self.settings.batch]
        found = []
        for model in both:
            with evaluating(model), watching(model, layers) as seen:
                model(part)
            found.append({name: one.y if one.after is None else one.after for name, one in seen.items()})
        old, new = found
        spread = {name: (y - y.mean(dim=(0, 1))).square().sum() for name, y in old.items()}
        return {name: float((new[name] - y).square().sum() / spread[name]) for name, y in old.items()}

    def _refit(self, path: Path | None) -> tuple[int, str]:
        layers = list(self.conversion.assignment)
        order = [name for name, _ in self.conversion.model.named_modules() if name in layers]
        done = refit(self.conversion.model, self.conversion.original, self.images, self.held_out, order)
        gains = [f"{one.layer} {one.before:.2f} -> {one.after:.2f}" for one in done]
        return 0, f"variance left unexplained: {', '.join(gains) or 'no projection is a Linear'}"

    def _align(self, path: Path | None, layers: list[str], left: str) -> tuple[int, str]:
        how = self.settings.training(self.settings.align, self.settings.align_lr)
        both = (self.conversion.model, self.conversion.original)
        got = align(*both, self.images, self.held_out, layers, how, path)
        gains = [f"{name} {got.first[name]:.2f} -> {got.best[name]:.2f}" for name in layers]
        return got.steps, f"variance left unexplained: {', '.join(gains)}{left}"

    def _distil(self, path: Path | None, steps: int, labels: Tensor | None) -> tuple[int, str]:
        how = self.settings.training(steps, self.settings.lr)
        both = (self.conversion.model, self.conversion.original)
        got = distil(
            *both,
            self.images,
            self.held_out,
            how,
            trained=self.settings.trained,
            layers=tuple(self.conversion.assignment),
            lora=self.settings.lora,
            labels=labels,
            path=path,
        )
        what = f"rank {self.settings.lora} adaptors" if self.settings.lora else f"{self.settings.trained} weights"
        return got.steps, f"{what}; best after step {got.best_step['']} of {got.steps}"


class _Keep:
    """The folder of a conversion: what was done, so that it is not done again."""

    def __init__(self, folder: Path | None, assignment: Mapping[str, str], settings: Settings) -> None:
        self.folder = folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"assignment": dict(assignment), "settings": asdict(settings)}, sort_keys=True)
        self.mark = sha256(about.encode()).hexdigest()
        what = folder / "conversion.json"
        if what.exists() and json.loads(what.read_text(encoding="utf-8")).get("mark") != self.mark:
            raise ValueError(f"{folder} is of another conversion: give an empty folder, or the settings of that one")
        write_whole(what, [json.dumps({"mark": self.mark, **json.loads(about)}, indent=1).encode()])

    def path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.safetensors"

    def done(self, name: str, model: nn.Module) -> Stage | None:
        path = self.path(name)
        if path is None or not path.exists():
            return None
        tensors, about = read_tensors(path)
        model.load_state_dict(tensors)
        data = json.loads(about["stage"])
        return Stage(**{**data, "drift": Drift(**data["drift"])})

    def write(self, stage: Stage, model: nn.Module) -> None:
        path = self.path(stage.name)
        if path is None:
            return
        tensors = {key: value.detach().cpu() for key, value in model.state_dict().items()}
        write_tensors(path, tensors, {"stage": json.dumps(asdict(stage))})
        loop = self.path(f"{stage.name}.loop")
        if loop is not None:
            loop.unlink(missing_ok=True)


def _counted(assignment: Mapping[str, str]) -> str:
    names = list(assignment.values())
    return ", ".join(f"{names.count(name)} as {name}" for name in dict.fromkeys(names))
