"""Images to calibrate on, from a folder or a data set, as a model takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..border import preprocess
from ..train.data import load_data
from ..train.data.reading import Reading

Augment: TypeAlias = Callable[[Tensor], Tensor]
"""What is done to a batch of images ``(B, channels, height, width)``, by torch's random numbers: a transform of torchvision, too."""


def augmented(images: Tensor, augment: Augment | None, seed: int, step: int) -> Tensor:
    """The images as a step sees them; what is random follows from the seed and the step alone, and the generators stay as they are.

    Raises:
        ValueError: there are not as many images as before.
    """
    if augment is None:
        return images
    with torch.random.fork_rng():
        torch.manual_seed(seed * 1_000_003 + step)
        done = augment(images)
    if done.shape[:1] != images.shape[:1]:
        raise ValueError(f"augment must keep the {len(images)} images of a batch, got {tuple(done.shape)}")
    return done


def load_images(model: nn.Module, source: str, count: int | None = None, *, seed: int = 0) -> Tensor:
    """Images without labels, done to as the model wants it (:func:`~vitblocks.preprocess`): ``(count, channels, height, width)``.

    Args:
        model: whose device and dtype they get.
        source: a folder of images, or what else :func:`~vitblocks.train.load_data` takes.
        count: how many, chosen by the seed; all if None.
        seed: which.

    Raises:
        ValueError: the source cannot be found, holds nothing that can be read, or fewer than ``count``.
    """
    images = load_data(source, held_out=0.0, labelled=False).train
    count = len(images) if count is None else count
    if not 0 < count <= len(images):
        raise ValueError(f"count must lie in [1, {len(images)}], which is how many {source} has, got {count}")
    preprocessing = preprocess(model)
    reading = Reading(images, preprocessing)
    places = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    pixels = torch.stack([reading[int(place), seed].image for place in places])
    like = next(model.parameters())
    return preprocessing.normalized(pixels).to(like)
