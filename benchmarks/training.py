"""The small models of ``python -m benchmarks.objectives``, and one training loop for all objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from vitblocks.zoo.distill import DistillableViT
from vitblocks.zoo.vit import ViT

from .digits import SIDE, Labelled
from .learning import warmup_cosine
from .probes import Digits, move

SIZES: dict[str, Any] = {"image_size": SIDE, "patch_size": 4, "channels": 1, "num_classes": 10}
SIZES |= {"dim": 64, "depth": 4, "heads": 4, "mlp_dim": 128}
BATCH, FEW = 64, 50

Tick = Callable[[], None]


def xavier_linear(module: nn.Module) -> None:
    """As MAE's encoder starts. At this width the usual standard deviation of 0.02 makes blocks that add next to nothing."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)


def encoder(seed: int) -> ViT:
    """The encoder of every objective: 16 patches, whose means after each block are the features."""
    torch.manual_seed(seed)
    model = ViT(pool="mean", **SIZES)
    model.apply(xavier_linear)
    return model


def student(seed: int) -> DistillableViT:
    """The same with a class and a distillation token and a head for each."""
    torch.manual_seed(seed)
    model = DistillableViT(**SIZES)
    model.apply(xavier_linear)
    return model


def convnet(seed: int) -> nn.Sequential:
    """The teacher: three convolutions."""
    torch.manual_seed(seed)

    def convolution(channels: int, wider: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, wider, 3, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.ReLU()]

    layers = [*convolution(1, 32, 1), *convolution(32, 64, 2), *convolution(64, 128, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


class Supervised(nn.Module):
    """``(images, labels) -> loss``: cross entropy, as distillation takes of labels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.model(images), labels)


def labelled_batches(data: Digits, part: Labelled, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end: images moved anew and normalised, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(part.labels), (size,), generator=generator)
        yield data.normalise(move(part.images[chosen], generator)), part.labels[chosen]


def image_batches(data: Digits, seed: int) -> Iterator[tuple[Tensor]]:
    """The same of all training images, without labels."""
    return ((images,) for images, _ in labelled_batches(data, data.train, BATCH, seed))


def fit(
    objective: nn.Module,
    batches: Iterator[tuple[Any, ...]],
    *,
    steps: int,
    learning_rate: float,
    tick: Tick,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train ``objective(*batch) -> loss`` in place: AdamW, a tenth of the steps warm-up, then a cosine. ``tick`` is called each step."""
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(
        [p for p in objective.parameters() if p.requires_grad], lr=learning_rate, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps))
    objective, optimizer, schedule = accelerator.prepare(objective, optimizer, schedule)
    objective.train()
    for _ in range(steps):
        loss = objective(*next(batches))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(objective.parameters(), 3.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        after_step()
        tick()
