"""How good features are, told by simple classifiers on top of them: a linear probe and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vitblocks.inspect import extract
from vitblocks.model import Model

from .digits import Labelled, digits, jitter

NEIGHBOURS, WHITENED = 20, 128
SHIFT = 2.0
"""By how many pixels at most images are moved, beside the turns and zooms of the demo's."""


class Digits(NamedTuple):
    """The scans of one seed's split, as they are and each moved once at random; and how their pixels are normalised."""

    train: Labelled
    held_out: Labelled
    moved_train: Labelled
    moved_held_out: Labelled
    mean: float
    std: float

    def normalise(self, images: Tensor) -> Tensor:
        """Pixels from 0 to 1 to those of mean 0 and standard deviation 1 over the training images, which every model here sees."""
        return (images - self.mean) / self.std


def load(seed: int) -> Digits:
    """The digits split by ``seed``, a fifth held out."""
    train, held_out = digits(seed)
    generator = torch.Generator().manual_seed(seed)
    moved, moved_held_out = (part._replace(images=move(part.images, generator)) for part in (train, held_out))
    return Digits(train, held_out, moved, moved_held_out, train.images.mean().item(), train.images.std().item())


def move(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, zoomed and shifted at random."""
    return jitter(images, generator, shift=SHIFT)


def few_labels(data: Labelled, count: int) -> Labelled:
    """The first images of each of the ten digits, ``count`` in all."""
    chosen = torch.cat([(data.labels == digit).nonzero()[: count // 10, 0] for digit in range(10)])
    return Labelled(data.images[chosen], data.labels[chosen])


def linear_probe(train: Labelled, held_out: Labelled) -> float:
    """Held-out accuracy of a logistic regression on features standardised one by one."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(classifier.fit(train.images, train.labels).score(held_out.images, held_out.labels))


def nearest_neighbours(train: Labelled, held_out: Labelled, *, whiten: bool) -> float:
    """Held-out accuracy of a vote of the 20 nearest training images by the cosine, each weighted by the inverse of its distance.

    ``whiten``: by the first 128 principal components of the standardised features, each brought to variance 1.
    """
    nearest = KNeighborsClassifier(NEIGHBOURS, metric="cosine", weights="distance")
    before = [StandardScaler(), PCA(WHITENED, whiten=True, svd_solver="full")] if whiten else []
    classifier = make_pipeline(*before, nearest)
    return float(classifier.fit(train.images, train.labels).score(held_out.images, held_out.labels))


@torch.no_grad()
def pooled_blocks(model: Model, images: Tensor) -> Tensor:
    """The mean of the patches after each block, normed: ``(B, blocks * dim)``. DINO's own probe joins its last blocks so, too.

    The last block alone is the worse the nearer an objective keeps it to pixels.
    """
    names = [name for name, _ in model.blocks()]
    with extract(model.eval(), names) as tokens:
        model.forward_features(images)
    means = [tokens[name].patches.mean(dim=1) for name in names]
    return torch.cat([F.layer_norm(mean, mean.shape[1:]) for mean in means], dim=1)


@torch.no_grad()
def probe(features: Callable[[Tensor], Tensor], data: Digits, *, whiten: bool = True) -> dict[str, float]:
    """Accuracies of both classifiers, on the scans and on the moved ones. ``features``: normalised images to ``(B, D)``."""

    def of(part: Labelled) -> Labelled:
        return Labelled(features(data.normalise(part.images)).double(), part.labels)

    scans, moved = (of(data.train), of(data.held_out)), (of(data.moved_train), of(data.moved_held_out))
    return {
        "linear": linear_probe(*scans),
        "k-NN": nearest_neighbours(*scans, whiten=whiten),
        "linear, moved": linear_probe(*moved),
        "k-NN, moved": nearest_neighbours(*moved, whiten=whiten),
    }
