"""How well a model does on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor, nn

from ..border import Preprocessing
from ..inspect.frames import evaluating
from ..norm import at_least_float32
from .data.images import Images
from .data.reading import Reading, in_order, loader


@dataclass(frozen=True)
class Evaluation:
    """What a model said of images.

    Attributes:
        labels: the class of each, ``(N,)``.
        told: the class that it told, ``(N,)``.
        sure: the probability that it gave to that, ``(N,)``.
        losses: the cross entropy of each, ``(N,)``.
        broken: what could not be read, and is not counted.
        classes: the names of the classes.
    """

    labels: Tensor
    told: Tensor
    sure: Tensor
    losses: Tensor
    places: Tensor
    broken: list[str]
    classes: list[str]

    @property
    def accuracy(self) -> float:
        return (self.told == self.labels).double().mean().item()

    @property
    def loss(self) -> float:
        return self.losses.double().mean().item()

    @property
    def confusion(self) -> Tensor:
        """How often images of each class (rows) were told to be of each class (columns)."""
        count = len(self.classes)
        pairs = torch.bincount(self.labels * count + self.told, minlength=count * count)
        return pairs.view(count, count)

    def worst(self, count: int) -> list[int]:
        """Rows of the images told wrong that cost most, the worst first."""
        wrong = (self.told != self.labels).nonzero()[:, 0]
        return wrong[self.losses[wrong].argsort(descending=True, stable=True)][:count].tolist()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch: int = 128,
    workers: int = 0,
    processes: tuple[int, int] = (0, 1),
    total: Callable[[Tensor], Tensor] = lambda x: x,
) -> Evaluation:
    """Run a model over images, in evaluation mode, where it is left as it was.

    Args:
        model: ``images -> (B, classes)`` logits.
        images: what it is asked of.
        preprocessing: what is done to them.
        batch: how many at once.
        workers: processes that read.
        processes: which process this is, and of how many, each of which takes a share; ``total`` sums tensors over them.

    Raises:
        ValueError: no image can be read, or the model has other classes.
    """
    device = next(model.parameters()).device
    reading = _Once(images, preprocessing)
    found = torch.zeros(len(images), 4, dtype=torch.float64)  # read, told, sure, loss
    broken: list[str] = []
    with evaluating(model):
        for given in loader(reading, in_order(len(images), batch, *processes), workers):
            kept = torch.tensor([not words for words in given.broken], dtype=torch.bool)
            broken += [words for words in given.broken if words]
            logits = at_least_float32(model(preprocessing.normalized(given.images.to(device))))
            if logits.dim() != 2 or logits.shape[1] != len(images.classes):
                raise ValueError(
                    f"the model must give {len(images.classes)} classes, as the images have, got {tuple(logits.shape[1:])}"
                )
            sure, told = logits.softmax(dim=1).max(dim=1)
            losses = F.cross_entropy(logits, given.labels.to(device), reduction="none")
            rows = torch.stack([torch.ones_like(sure), told.to(sure.dtype), sure, losses], dim=1).double().cpu()
            found[torch.tensor(given.places)[kept]] = rows[kept]
    if processes[0] >= len(images):
        found.zero_()  # it has no share, and went along
    broken = [*dict.fromkeys(broken)]
    found = total(found)
    read = found[:, 0] > 0
    if not read.any():
        raise ValueError(f"no image can be read{', ' + broken[0] if broken else ''}")
    _, told, sure, losses = found[read].unbind(dim=1)
    labels = torch.tensor([int(label) for label in images.labels])[read]
    return Evaluation(labels, told.long(), sure, losses, read.nonzero()[:, 0], broken, list(images.classes))


class _Once(Reading):
    """Each image once: one that cannot be read is left out, not replaced. ``broken`` of a batch has a word, or "", for each image."""

    def __getitem__(self, key: tuple[int, int]):  # type: ignore[no-untyped-def]
        place, _ = key
        found = super().__getitem__(key)
        return found._replace(place=place, broken=[found.broken[0] if found.broken else ""])


@torch.no_grad()
def mean_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    images: Images,
    reading: Reading,
    batch: int,
    device: torch.device,
    workers: int,
) -> float:
    """The mean of an objective's loss over images, the same masks each time."""
    losses, counts = [], []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for given in loader(reading, in_order(len(images), batch), workers):
            losses.append(loss(given.images.to(device), given.labels.to(device)).double().cpu())
            counts.append(len(given.places))
    weights = torch.tensor(counts, dtype=torch.float64)
    return (reduce(torch.stack(losses) * weights, "b ->", "sum") / weights.sum()).item()
