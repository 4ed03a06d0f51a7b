"""A few steps of AdamW that keep what was best on images held out, and go on where they were broken off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint.tensor_file import read_tensors, write_tensors
from ..train.schedule import cosine
from .drift import batches

Groups = Mapping[str, Sequence[nn.Parameter]]
"""Parameters whose best values are kept apart from the others', by name."""


@dataclass(frozen=True)
class Training:
    """How long, and how.

    Attributes:
        steps: at most.
        lr: learning rate, which rises over a tenth of the steps and then falls by a cosine to nothing.
        batch: images of a step.
        check_every: steps between two looks at the images held out.
        patience: it ends after so many looks in the second half of the steps that found nothing better. Before, the learning rate is high,
            and what was refitted first gets worse.
        clip: the largest norm of a gradient.
        seed: of the batches.
    """

    steps: int
    lr: float
    batch: int = 32
    check_every: int = 10
    patience: int = 5
    clip: float = 1.0
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = max(self.steps // 10, 1)
        if step < warm:
            return self.lr * (step + 1) / warm
        return cosine(self.lr, 0.0, (step - warm) / max(self.steps - warm, 1))


@dataclass
class Outcome:
    """What training came to: steps taken, and by group the score held out at the start, the best one and when that was."""

    steps: int
    first: dict[str, float]
    best: dict[str, float]
    best_step: dict[str, int]


def train(
    groups: Groups,
    loss: Callable[[Tensor, int], Tensor],
    score: Callable[[], dict[str, float]],
    count: int,
    how: Training,
    path: Path | None = None,
) -> Outcome:
    """Train parameters in place. In the end each group is what it was when its own score was least, at the start for one.

    Args:
        groups: what is trained.
        loss: of the images at these places, in this step.
        score: of each group on images held out; less is better.
        count: how many images there are.
        how: how long, and how.
        path: where the state is kept at each look, so that the same call goes on from there; None to keep none.
    """
    loop = _Loop(groups, how, path)
    if not loop.resumed():
        loop.look(0, score())
    for step, places in batches(torch.empty(count), how.batch, how.seed, loop.step):
        if step >= how.steps or loop.idle >= how.patience:
            break
        loop.take(step, loss(places, step))
        if (step + 1) % how.check_every == 0 or step + 1 == how.steps:
            loop.look(step + 1, score())
            loop.save()
    loop.finish()
    return Outcome(loop.step, loop.first, loop.best, loop.best_step)


class _Loop:
    """The state of a run."""

    def __init__(self, groups: Groups, how: Training, path: Path | None) -> None:
        self.groups, self.how, self.path = groups, how, path
        self.parameters = [p for group in groups.values() for p in group]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=how.lr, weight_decay=0.0)
        self.step, self.idle = 0, 0
        self.first: dict[str, float] = {}
        self.best: dict[str, float] = dict.fromkeys(groups, inf)
        self.best_step: dict[str, int] = dict.fromkeys(groups, 0)
        self.kept = {name: [p.detach().clone() for p in group] for name, group in groups.items()}

    def take(self, step: int, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.how.rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.how.clip)
        self.optimizer.step()
        self.step = step + 1

    @torch.no_grad()
    def look(self, step: int, scores: Mapping[str, float]) -> None:
        better = [name for name in self.groups if scores[name] < self.best[name]]
        if not self.first:
            self.first = dict(scores)
        for name in better:
            self.best[name], self.best_step[name] = scores[name], step
            self.kept[name] = [p.detach().clone() for p in self.groups[name]]
        self.idle = 0 if better or step <= self.how.steps // 2 else self.idle + 1

    @torch.no_grad()
    def finish(self) -> None:
        for name, group in self.groups.items():
            for parameter, value in zip(group, self.kept[name], strict=True):
                parameter.copy_(value)

    def save(self) -> None:
        if self.path is None:
            return
        known = {
            "step": self.step,
            "idle": self.idle,
            "first": self.first,
            "best": self.best,
            "best_step": self.best_step,
        }
        tensors = {f"now.{i}": p.detach() for i, p in enumerate(self.parameters)}
        kept = [value for name in self.groups for value in self.kept[name]]
        tensors |= {f"kept.{i}": value for i, value in enumerate(kept)}
        for i, parameter in enumerate(self.parameters):
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"{key}.{i}": value for key, value in state.items()}
        write_tensors(self.path, {key: value.cpu() for key, value in tensors.items()}, {"loop": json.dumps(known)})

    @torch.no_grad()
    def resumed(self) -> bool:
        """Go on from what was kept, if anything was. Raises ValueError where it is of another run."""
        if self.path is None or not self.path.exists():
            return False
        tensors, about = read_tensors(self.path)
        known = json.loads(about["loop"])
        fits = [tensors[f"now.{i}"].shape == p.shape for i, p in enumerate(self.parameters) if f"now.{i}" in tensors]
        if len(fits) != len(self.parameters) or not all(fits):
            raise ValueError(f"{self.path} is of another conversion: give an empty folder")
        self.step, self.idle = known["step"], known["idle"]
        self.first, self.best, self.best_step = known["first"], known["best"], known["best_step"]
        kept = iter(range(len(self.parameters)))
        for name, group in self.groups.items():
            self.kept[name] = [tensors[f"kept.{next(kept)}"].to(p) for p in group]
        for i, parameter in enumerate(self.parameters):
            parameter.copy_(tensors[f"now.{i}"])
            if f"exp_avg.{i}" in tensors:
                moments = {key: tensors[f"{key}.{i}"].to(parameter) for key in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[parameter] = {"step": tensors[f"step.{i}"], **moments}
        return True
