"""Train each new attention alone to give what the old one gave, all of them in one pass through the frozen model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from ..inspect.frames import evaluating
from .images import Augment, augmented
from .loop import Outcome, Training, train
from .watching import Seen, token_weights, watching


def align(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    held_out: Tensor,
    layers: Sequence[str],
    how: Training,
    *,
    augment: Augment | None = None,
    path: Path | None = None,
) -> Outcome:
    """Align the outputs of layers on the teacher's own inputs (LoLCATs, arXiv:2410.10254, Section 3.2), without labels.

    Each layer's loss is the mean squared error by the variance of its target, so that none drowns the others. Each keeps its weights of
    the moment when it was best on the images held out. Layers run in evaluation: with the statistics that they have, without dropout.

    Args:
        student: its layers are changed in place.
        teacher: the model as it was.
        images, held_out: ``(B, channels, height, width)`` each.
        layers: names of attentions that can give what the old ones gave.
        how: how long, and how.
        augment: what is done to a batch of images in each step; see :func:`~vitblocks.convert.convert`.
        path: see :func:`~vitblocks.convert.loop.train`.

    Returns:
        scores by layer: the share of the target's variance that is left.
    """
    new = {name: student.get_submodule(name) for name in layers}
    groups = {name: [p for p in layer.parameters() if p.requires_grad] for name, layer in new.items()}

    def errors(part: Tensor) -> dict[str, Tensor]:
        with torch.no_grad(), evaluating(teacher), watching(teacher, layers) as seen:
            teacher(part)
        return {name: unexplained(layer, seen[name]) for name, layer in new.items()}

    def loss(places: Tensor, step: int) -> Tensor:
        part = augmented(images[places], augment, how.seed, step)
        return torch.stack(list(errors(part).values())).sum()

    @torch.no_grad()
    def score() -> dict[str, float]:
        parts = held_out.split(how.batch)
        found = [(errors(part), len(part)) for part in parts]
        return {name: sum(float(e[name]) * n for e, n in found) / len(held_out) for name in new}

    return train(groups, loss, score, len(images), how, path)


def unexplained(layer: nn.Module, seen: Seen) -> Tensor:
    """The squared error of a layer's output by the variance of what the old one gave; prefix tokens count as much as patches."""
    with evaluating(layer):
        given = layer(seen.x, seen.grid)
    weights = rearrange(token_weights(seen.x, seen.grid), "n -> n 1")
    centred = seen.y - (weights * seen.y).mean(dim=(0, 1)) / weights.mean()
    return (weights * (given - seen.y).square()).sum() / (weights * centred.square()).sum().clamp(min=1e-12)
