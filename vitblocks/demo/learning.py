"""The scanned digits, and how the demo's model learns them: 1,797 images that come with scikit-learn, so that nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..border import Preprocessing
from ..train import Bar, Images, Recipe, Result, fit
from ..train.data.sources import Data

SIDE = 16
# Scanned at 8x8: twice the size gives sub-pixel shifts and turns something to interpolate.
PIXELS = Preprocessing(
    (SIDE, SIDE), (SIDE, SIDE), crop=None, interpolation="bilinear", mean=(0.0,), std=(1.0,), channels="grey"
)
RECIPE = Recipe(
    batch=64, label_smoothing=0.1, clip=1.0, turn=12.0, zoom=0.1, shift=0.1, preprocessing=PIXELS.data()
)  # fmt: skip


class Labelled(NamedTuple):
    """Images ``(B, 1, 16, 16)`` of values from 0 to 1, and which digit each of them is."""

    images: Tensor
    labels: Tensor


class Epoch(NamedTuple):
    """What an epoch came to: the mean training loss, and the share of held-out images told right after it."""

    loss: float
    accuracy: float


def pixels(images: Images) -> Labelled:
    """A set of images as the model takes them."""
    return Labelled(PIXELS([images.image(i) for i in range(len(images))]), torch.tensor(images.labels))


def learn(
    model: nn.Module, data: Data, *, epochs: int, lr: float, seed: int, quiet: bool = False
) -> tuple[Result, list[Epoch]]:
    """Train a model, which is then what it was after its best epoch; what it came to, and each epoch."""
    recipe = replace(RECIPE, epochs=epochs, lr=lr, seed=seed)
    with TemporaryDirectory() as folder:
        result = fit(model, data, recipe, folder=folder, watchers=[Bar(recipe.batch, quiet=quiet)])
        return result, epochs_of(result)


def epochs_of(result: Result) -> list[Epoch]:
    """Each epoch of a run."""
    found, losses = [], []
    for record in result.metrics():
        losses.append(record["loss"])
        if "epoch" in record:
            found.append(Epoch(sum(losses) / len(losses), record["held_out_accuracy"]))
            losses = []
    return found


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in evaluation mode."""
    return model.eval()(images)
