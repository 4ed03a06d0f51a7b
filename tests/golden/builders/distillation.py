"""DeiT's distillation loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import AveragedHeads, DistillWrapper, Model


class Said(nn.Module):
    """Logits that were said before, whatever the image."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.empty(0)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits


class FirstToken(nn.Module):
    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return x[:, 0]


class NoTokens(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        return image.flatten(1)[:, None], (0, 0)


def wrapper(config: Config) -> DistillWrapper:
    """The wrapper itself around heads and a teacher that say what the case says."""
    config.only("base_criterion", "CrossEntropyLoss")
    student = Model(NoTokens(), [], pool=FirstToken(), head=AveragedHeads([Said(), Said()]))
    return DistillWrapper(student, Said(), temperature=config["tau"], alpha=config["alpha"])


def run(
    model: Any, case: Case, *, alpha: float, hard: bool = False, soft_labels: bool = False
) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by the logits of the second head."""
    shape = (case.config["batch"], case.config["num_classes"])
    outputs, distilled, teacher = (case.random(name, shape) for name in ("outputs", "outputs_kd", "teacher"))
    first, second = model.student.head.heads
    first.logits, second.logits, model.teacher.logits = outputs, distilled.requires_grad_(), teacher
    labels = case.random("targets", shape).softmax(dim=1) if soft_labels else torch.tensor(case.config["labels"])
    model.alpha, model.hard = alpha, hard
    with torch.enable_grad():
        loss = model.train()(torch.zeros(shape[0], 1, 1, 1), labels)
        (gradient,) = torch.autograd.grad(loss, distilled, allow_unused=True)
    model.eval()
    return loss.detach().reshape(1), gradient


def loss(**options: Any) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: run(model, case, **{"alpha": case.config["alpha"], **options})[0]


def gradient(**options: Any) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: run(model, case, **{"alpha": case.config["alpha"], **options})[1]


BUILDERS = {
    ("DeiT distillation", "official"): Builder(
        wrapper,
        {
            "base_ce": loss(alpha=0.0),
            "loss_none": loss(alpha=0.0),
            "loss_soft": loss(),
            "grad_kd_soft": gradient(),
            "loss_hard": loss(hard=True),
            "grad_kd_hard": gradient(hard=True),
            "loss_soft_softlabels": loss(soft_labels=True),
        },
        settings=("batch", "num_classes", "labels"),
    )
}
