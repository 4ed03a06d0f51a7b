"""The loss of DINO, the centre and temperatures that keep it from collapsing, and what shows a collapse (arXiv:2104.14294)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, log, pi

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checks import check_words
from ..norm import at_least_float32
from ..registry import part


@part
class Centering(nn.Module):
    """Centre and sharpen the teacher's logits, so that it neither says the same of all images nor nothing of any (Section 3.1, eq. 4).

    The centre is a moving average of the mean logits, over all processes. ``observe`` adds a batch, ``update`` moves the centre by what was
    observed since the last time: several batches of accumulated gradients count as one.

    Args:
        dim: of the logits.
        decay: of the moving average.

    Raises:
        ValueError: ``decay`` lies outside [0, 1].
    """

    center: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, dim: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("center", torch.zeros(1, dim))
        self.register_buffer("total", torch.zeros(1, dim))
        self.register_buffer("count", torch.zeros(1, 1))

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """``(..., dim)`` logits to probabilities."""
        return ((at_least_float32(logits) - self.center) / temperature).softmax(dim=-1)

    @torch.no_grad()
    def observe(self, logits: Tensor) -> None:
        """Add logits ``(..., dim)``; in distributed training those of every process, which all have to call."""
        rows = rearrange(logits, "... k -> (...) k").to(self.total.dtype)
        seen = torch.cat([rows.sum(dim=0, keepdim=True), rows.new_full((1, 1), rows.shape[0])], dim=1)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(seen)
        self.total += seen[:, :-1]
        self.count += seen[:, -1:]

    @torch.no_grad()
    def update(self) -> None:
        """Move the centre towards the mean of what was observed; nothing happens where nothing was."""
        mean = self.total / self.count.clamp(min=1)
        self.center.lerp_(torch.where(self.count > 0, mean, self.center), 1 - self.decay)
        self.total.zero_()
        self.count.zero_()

    def extra_repr(self) -> str:
        return f"dim={self.center.shape[1]}, decay={self.decay:g}"


def cross_view_entropy(logits: Sequence[Tensor], targets: Sequence[Tensor], temperature: float) -> Tensor:
    """The student's cross entropy on every view with the teacher's targets of every other view, averaged (Section 3.1, eq. 3).

    Args:
        logits: the student's, ``(B, K)`` for each view.
        targets: the teacher's probabilities ``(B, K)`` of the first views.
        temperature: of the student.

    Raises:
        ValueError: there are no two views to compare.
    """
    if not targets or len(logits) < 2:
        raise ValueError(
            f"a loss needs 2 views of the student and 1 of the teacher, got {len(logits)} and {len(targets)}"
        )
    log_p = [(at_least_float32(view) / temperature).log_softmax(dim=-1) for view in logits]
    losses = []
    for i, target in enumerate(targets):
        others = torch.stack([view for j, view in enumerate(log_p) if j != i]).sum(dim=0)
        losses.append(-(target * others).sum(dim=-1).mean())
    return torch.stack(losses).sum() / (len(targets) * (len(logits) - 1))


@dataclass(frozen=True)
class DinoSchedule:
    """What changes in the course of training, as a function of the steps taken (Section 3.1, "Implementation details").

    Args:
        epochs, steps_per_epoch: the length of training; 1251 steps are an epoch of ImageNet at the paper's batch of 1024.
        momentum: of the teacher at the first step, rising to 1 at the last along a cosine.
        teacher_temp: rising from ``warmup_teacher_temp`` in a line over the first ``warmup_epochs`` epochs.
        freeze_epochs: epochs in which the last layer stays as it is.

    Raises:
        ValueError: a length or temperature that is not positive, a negative number of epochs, or a momentum outside [0, 1].
    """

    epochs: int = 100
    steps_per_epoch: int = 1251
    momentum: float = 0.996
    teacher_temp: float = 0.07
    warmup_teacher_temp: float = 0.04
    warmup_epochs: int = 30
    freeze_epochs: int = 1

    def __post_init__(self) -> None:
        fields = vars(self)
        check_words(
            {"moving_average_decay": self.momentum, **{name: fields[name] for name in fields if name != "momentum"}}
        )

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def momentum_at(self, step: int) -> float:
        return 1.0 - (1.0 - self.momentum) * (1.0 + cos(pi * min(step / self.steps, 1.0))) / 2

    def teacher_temp_at(self, epoch: int) -> float:
        """The end of the line belongs to the last warm-up epoch, as in the authors' code."""
        if epoch >= self.warmup_epochs:
            return self.teacher_temp
        passed = epoch / max(self.warmup_epochs - 1, 1)
        return self.warmup_teacher_temp + (self.teacher_temp - self.warmup_teacher_temp) * passed


def monitor(features: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """See :attr:`Dino.monitors`: from features ``(views, B, D)`` and probabilities ``(views, B, K)``."""
    unit = (
        F.normalize(rearrange(at_least_float32(features), "crops b c -> (crops b) c"), dim=1)
        * features.shape[-1] ** 0.5
    )
    mean = targets.mean(dim=(0, 1))
    return {
        "teacher_entropy": -torch.xlogy(targets, targets).sum(dim=-1).mean(),
        "kl_to_uniform": torch.xlogy(mean, mean).sum() + log(len(mean)),
        "feature_std": unit.std(dim=0, correction=0).mean(),
    }
