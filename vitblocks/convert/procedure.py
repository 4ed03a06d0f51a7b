"""The whole conversion: swap, refit, align, distil, labels; with a report of each, and the way back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..inspect.frames import evaluating
from .align import align
from .distil import Trained, distil
from .drift import accuracy, answers, drift
from .images import Augment
from .keeping import Keep
from .kinds import Kind, global_layers
from .loop import Training
from .planning import Plan, converted
from .refit import refit
from .report import Conversion, Stage
from .watching import watching


@dataclass(frozen=True)
class Settings:
    """What is done, and how long. A stage of 0 steps, or images, is left out.

    Attributes:
        refit: how many images, at most, projections are refitted on first.
        align: steps of training each new layer alone, for kinds that can give what the old one gave. None by default: the same steps end to
            end give more, where the model can be trained so.
        distil: steps end to end by the original's answers.
        labels: steps by labels beside the original's answers, where there are labels. Of few steps give all to these: they lead.
        align_lr, lr: learning rates of aligning, and of what follows.
        trained: what is trained after aligning: ``"all"``, or ``"new"`` layers alone.
        lora: rank of low-rank adaptors in place of that; None for none.
        batch, check_every, patience, seed: see :class:`~vitblocks.convert.Training`.
    """

    refit: int = 512
    align: int = 0
    distil: int = 100
    labels: int = 100
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


def convert(
    model: nn.Module,
    to: Kind | Plan | Mapping[str, str],
    images: Tensor,
    *,
    kinds: Sequence[Kind] = (),
    held_out: Tensor | None = None,
    labels: Tensor | None = None,
    held_out_labels: Tensor | None = None,
    augment: Augment | None = None,
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
        augment: what is done to a batch of images in each step of training, ``images -> images``, such as a transform of torchvision. Its
            random numbers are torch's, and follow from the seed and the step.
        settings: what is done, and how long.
        folder: where each stage is kept, and every look at the images held out within it: the same call goes on from there.

    Raises:
        ValueError: nothing is to be converted, a kind is unknown or does not fit, there are too few images, or the folder is of another
            conversion.
    """
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
    run = _Run(
        Conversion(student, model, assignment), kinds, images, held_out, labels, held_out_labels, augment, settings
    )
    run.keep = Keep(None if folder is None else Path(folder), assignment, asdict(settings))
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
    augment: Augment | None
    settings: Settings
    keep: Keep = field(init=False)

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
            last = conversion.stages[-1] if name in ("refit", "align") else None
            if last is not None and stage.drift.logits > last.drift.logits:
                conversion.model.load_state_dict(conversion.kept[-1])
                moved = f"{last.drift.logits:.3g} -> {stage.drift.logits:.3g}"
                why = f"taken back, since it moved the logits away on the images held out, {moved}; {why}"
                stage = replace(last, name=name, seconds=stage.seconds, steps=steps, why=why)
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
        images = self.images[: self.settings.refit]
        done = refit(self.conversion.model, self.conversion.original, images, self.held_out, order)
        gains = [f"{one.layer} {one.before:.2f} -> {one.after:.2f}" for one in done]
        return 0, f"variance left unexplained: {', '.join(gains) or 'no projection is a Linear'}"

    def _align(self, path: Path | None, layers: list[str], left: str) -> tuple[int, str]:
        how = self.settings.training(self.settings.align, self.settings.align_lr)
        both = (self.conversion.model, self.conversion.original)
        got = align(*both, self.images, self.held_out, layers, how, augment=self.augment, path=path)
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
            held_out_labels=self.held_out_labels,
            augment=self.augment,
            path=path,
        )
        what = f"rank {self.settings.lora} adaptors" if self.settings.lora else f"{self.settings.trained} weights"
        return got.steps, f"{what}; best after step {got.best_step['']} of {got.steps}"


def _counted(assignment: Mapping[str, str]) -> str:
    names = list(assignment.values())
    return ", ".join(f"{names.count(name)} as {name}" for name in dict.fromkeys(names))
