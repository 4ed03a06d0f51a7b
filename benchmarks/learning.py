"""A loop for tensors that lie in memory: AdamW, warm-up, cosine, label smoothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from vitblocks.demo.learning import Epoch, predict
from vitblocks.train.schedule import cosine

from .digits import Labelled, jitter

BATCH = 64


def warmup_cosine(step: int, steps: int) -> float:
    """The factor of the learning rate: a tenth of the steps up to 1, then a cosine down towards 0 (arXiv:1608.03983, eq. 5)."""
    return min(1.0, (step + 1) / max(0.1 * steps, 1.0)) * cosine(1.0, 0.0, step / steps)


def train(
    model: nn.Module,
    data: Labelled,
    held_out: Labelled,
    *,
    epochs: int,
    generator: torch.Generator,
    learning_rate: float = 3e-3,
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
        yield Epoch(sum(losses) / len(losses), accuracy(model, held_out))


def steps_per_epoch(data: Labelled) -> int:
    return len(data.labels) // BATCH


def shuffled(data: Labelled, generator: torch.Generator) -> Iterator[Labelled]:
    """Full batches in random order; what is left over waits for another epoch's order."""
    order = torch.randperm(len(data.labels), generator=generator)
    for step in range(steps_per_epoch(data)):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        yield Labelled(data.images[chosen], data.labels[chosen])


def accuracy(model: nn.Module, data: Labelled) -> float:
    """The share of images whose largest logit is the right one."""
    return (predict(model, data.images).argmax(dim=1) == data.labels).double().mean().item()
