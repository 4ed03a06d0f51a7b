"""How far a model has moved from another: its tokens, its logits, its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..inspect.frames import evaluating, in_this_thread, tensors
from ..inspect.sites import named_blocks
from ..model import Model, Stage
from ..norm import at_least_float32
from .watching import token_weights


class Answer(NamedTuple):
    """The tokens behind the last norm, the logits ``(B, classes)``, and how much each token counts, ``(N, 1)`` or one for all."""

    tokens: Tensor
    logits: Tensor
    weights: Tensor

    def centred(self) -> Tensor:
        """The tokens without their weighted mean."""
        dims = tuple(range(self.tokens.dim() - 1))
        weights = self.weights.expand_as(self.tokens[..., :1])
        mean = (weights * self.tokens).sum(dim=dims, keepdim=True) / weights.sum(dim=dims, keepdim=True)
        return self.tokens - mean


@dataclass(frozen=True)
class Drift:
    """How far answers moved.

    Attributes:
        tokens: the mean squared change of the last tokens by their variance: 1 is as bad as knowing their mean alone. Prefix tokens
            together count as much as all patches.
        logits: the Kullback-Leibler divergence of the class probabilities from the original's, in nats, the mean over images.
        agreement: the share of images whose most likely class is the same.
    """

    tokens: float
    logits: float
    agreement: float


def answer(model: nn.Module, images: Tensor) -> Answer:
    """What a model gives for images, and its last tokens. Gradients flow."""
    kept: dict[str, Any] = {}

    def note_grid(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        kept["grid"] = output[1] if isinstance(output, tuple) else args[1]

    def note_tokens(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        kept["tokens"] = next(tensors(output))

    last = _last(model)
    handles = [
        last.register_forward_hook(in_this_thread(note_grid)),
        (model.norm if isinstance(model, Model) else last).register_forward_hook(in_this_thread(note_tokens)),
    ]
    try:
        given = model(images)
    finally:
        for handle in handles:
            handle.remove()
    tokens = kept["tokens"]
    weights = rearrange(token_weights(tokens, kept["grid"]), "n -> n 1") if tokens.dim() == 3 else tokens.new_ones(1)
    return Answer(tokens, getattr(given, "logits", given), weights)


def _last(model: nn.Module) -> nn.Module:
    """What gives the last tokens and has their grid: the last stage or block. A block whose attention is left out is still one there."""
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    return stages[-1] if stages else named_blocks(model)[-1][1]


def answers(model: nn.Module, images: Tensor, batch: int = 64) -> list[Answer]:
    """The answers of a model in evaluation, batch by batch."""
    with torch.no_grad(), evaluating(model):
        return [answer(model, part) for part in images.split(batch)]


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of two batches of logits, the mean over images."""
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    return F.kl_div(student.log_softmax(dim=-1), teacher.log_softmax(dim=-1), reduction="batchmean", log_target=True)


def drift(before: list[Answer], after: list[Answer]) -> Drift:
    """How far the answers moved; tokens are compared where there are as many."""
    moved = sizes = diverged = 0.0
    same = count = 0
    for old, new in zip(before, after, strict=True):
        if old.tokens.shape == new.tokens.shape:
            moved += float((old.weights * (new.tokens.double() - old.tokens.double()).square()).sum())
        sizes += float((old.weights * old.centred().double().square()).sum())
        diverged += float(divergence(new.logits.double(), old.logits.double())) * len(old.logits)
        same += int((old.logits.argmax(dim=-1) == new.logits.argmax(dim=-1)).sum())
        count += len(old.logits)
    return Drift(moved / max(sizes, 1e-300), diverged / count, same / count)


def accuracy(given: list[Answer], labels: Tensor) -> float:
    """The share of images whose most likely class is their label."""
    found = torch.cat([a.logits.argmax(dim=-1) for a in given])
    return float((found == labels.to(found.device)).double().mean())


def cross_entropy(given: list[Answer], labels: Tensor) -> float:
    """Of the class probabilities with labels, in nats, the mean over images."""
    logits = at_least_float32(torch.cat([a.logits for a in given]))
    return float(F.cross_entropy(logits, labels.to(logits.device)))


def batches(images: Tensor, size: int, seed: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Step numbers from ``start`` and the places of their images, without end; each follows from the seed and the step alone."""
    step, size = start, min(size, len(images))
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        yield step, torch.randperm(len(images), generator=generator)[:size]
        step += 1
