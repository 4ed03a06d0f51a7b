"""Training: AdamW, warm-up, cosine, label smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .digits import Labelled, jitter

BATCH = 64


class Epoch(NamedTuple):
    """What an epoch came to: the mean training loss, and the share of held-out images told right after it."""

    loss: float
    accuracy: float


def warmup_cosine(step: int, steps: int) -> float:
    """The factor of the learning rate: a tenth of the steps up to 1, then a cosine down towards 0 (arXiv:1608.03983, eq. 5)."""
    return min(1.0, (step + 1) / max(0.1 * steps, 1.0)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(
    model: nn.Module,
    data: Labelled,
    held_out: Labelled,
    *,
    epochs: int,
    generator: torch.Generator,
    learning_rate: float = 3e-3,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train ``model`` in place, giving each :class:`Epoch` as it ends."""
    steps = epochs * steps_per_epoch(data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps))
    for _ in range(epochs):
        model.train()
        losses = []
        for batch in shuffled(data, generator):
            logits = model(jitter(batch.images, generator))
            loss = F.cross_entropy(logits, batch.labels, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            on_step()
        yield Epoch(sum(losses) / len(losses), accuracy(model, held_out))


def steps_per_epoch(data: Labelled) -> int:
    return len(data.labels) // BATCH


def shuffled(data: Labelled, generator: torch.Generator) -> Iterator[Labelled]:
    """Full batches in random order; what is left over waits for another epoch's order."""
    order = torch.randperm(len(data.labels), generator=generator)
    for step in range(steps_per_epoch(data)):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        yield Labelled(data.images[chosen], data.labels[chosen])


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in evaluation mode."""
    return model.eval()(images)


def accuracy(model: nn.Module, data: Labelled) -> float:
    """The share of images whose largest logit is the right one."""
    return (predict(model, data.images).argmax(dim=1) == data.labels).double().mean().item()
