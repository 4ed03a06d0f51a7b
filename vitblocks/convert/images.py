"""Images to calibrate on, from a folder or a data set, as a model takes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..border import preprocess
from ..train.data import load_data
from ..train.data.reading import Reading


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
