"""Train a converted model end to end by what the original answers: its tokens, its logits, and labels where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..inspect.frames import evaluating
from ..train.preparing import with_adaptors
from ..train.recipe import Recipe
from .drift import Answer, answer, answers, cross_entropy, divergence, drift
from .images import Augment, augmented
from .loop import Outcome, Training, train

Trained: TypeAlias = Literal["all", "new"]
"""Whether all weights are trained, or those of the new layers alone."""


def distil(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    held_out: Tensor,
    how: Training,
    *,
    trained: Trained = "all",
    layers: tuple[str, ...] = (),
    lora: int | None = None,
    labels: Tensor | None = None,
    held_out_labels: Tensor | None = None,
    augment: Augment | None = None,
    path: Path | None = None,
) -> Outcome:
    """Train by the last tokens and the logits of the original (ViT-AdaLA, arXiv:2603.16063; arXiv:1503.02531).

    The loss is the tokens' squared error by their variance, prefix tokens together as much as all patches, and the divergence of the class
    probabilities; with labels the cross entropy, too. What is kept is what was closest to the original on the images held out; with
    labels, what knew those of the images held out best, or without these what came last. The model runs in evaluation: with the
    statistics that it has, without dropout.

    Args:
        student: changed in place.
        teacher: the model as it was.
        images, held_out: ``(B, channels, height, width)`` each.
        how: how long, and how.
        trained: ``"all"`` or ``"new"``, which trains ``layers`` alone.
        layers: names of the new layers.
        lora: rank of low-rank adaptors (arXiv:2106.09685) that are trained in place of weights, and merged in the end; None for none. Needs
            the extra ``lora``.
        labels, held_out_labels: ``(B,)`` classes of ``images`` and of ``held_out``.
        augment: what is done to a batch of images in each step; see :func:`~vitblocks.convert.convert`.
        path: see :func:`~vitblocks.convert.loop.train`.

    Raises:
        ValueError: ``labels`` are not as many as images.
    """
    if labels is not None and labels.shape != (len(images),):
        raise ValueError(f"labels must be {len(images)}, one for each image, got {tuple(labels.shape)}")
    before = answers(teacher, held_out, how.batch)

    def loss(places: Tensor, step: int) -> Tensor:
        part = augmented(images[places], augment, how.seed, step)
        with torch.no_grad(), evaluating(teacher):
            wanted = answer(teacher, part)
        with evaluating(student):
            given = answer(student, part)
        found = apart(given, wanted)
        return found if labels is None else found + F.cross_entropy(given.logits, labels[places].to(part.device))

    looks = 0

    def score() -> dict[str, float]:
        nonlocal looks
        looks += 1
        if labels is not None and held_out_labels is None:
            return {
                "": -float(looks)
            }  # labels lead away from the original, and nothing here says how far is right: the last counts
        now = answers(student, held_out, how.batch)
        if labels is not None and held_out_labels is not None:
            return {"": cross_entropy(now, held_out_labels)}
        moved = drift(before, now)
        return {"": moved.tokens + moved.logits}

    with _training(student, trained, layers, lora) as parameters:
        return train({"": parameters}, loss, score, len(images), how, path)


def apart(given: Answer, wanted: Answer) -> Tensor:
    """The loss of distillation; of the logits alone where the tokens are not as many."""
    found = divergence(given.logits, wanted.logits)
    if given.tokens.shape != wanted.tokens.shape:
        return found
    spread = (wanted.weights * wanted.centred().square()).sum().clamp(min=1e-12)
    return found + (wanted.weights * (given.tokens - wanted.tokens).square()).sum() / spread


@contextmanager
def _training(
    student: nn.Module, trained: Trained, layers: tuple[str, ...], lora: int | None
) -> Iterator[list[nn.Parameter]]:
    """The parameters that are trained; what was trained or frozen before is so again afterwards."""
    modes = {parameter: parameter.requires_grad for parameter in student.parameters()}
    adapted = None
    try:
        if lora is not None:
            adapted = with_adaptors(student, Recipe(lora=lora))
        elif trained == "new":
            student.requires_grad_(False)
            for name in layers:
                student.get_submodule(name).requires_grad_(True)
        elif trained != "all":
            raise ValueError(f'trained must be "all" or "new", got {trained!r}')
        yield [parameter for parameter in student.parameters() if parameter.requires_grad]
    finally:
        if adapted is not None:
            adapted.merge_and_unload()
        for parameter, mode in modes.items():
            parameter.requires_grad_(mode)
