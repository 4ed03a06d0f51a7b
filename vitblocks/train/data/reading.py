"""Images read, cut and stacked, in an order that follows from the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import exp, log
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...border import Preprocessing
from ...border.preprocessing import opened
from ...objectives.views import RATIOS
from ..seeds import generator, seed_of
from .images import Images

# What Pillow raises for files that are none, or broken off.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, MemoryError)


class Batch(NamedTuple):
    """Images as bytes ``(B, C, H, W)``, their classes ``(B,)``, their places in the set, and what could not be read."""

    images: Tensor
    labels: Tensor
    places: list[int]
    broken: list[str]


class Read(NamedTuple):
    """One image as bytes, its class and place; what could not be read on the way to it."""

    image: Tensor
    label: int
    place: int
    broken: list[str]


class Reading(Dataset[Read]):
    """Images as bytes of one size: by a key ``(place, seed)``, which a random crop is drawn with.

    In the place of an image that cannot be read comes the next one that can.

    Args:
        images: what is read.
        preprocessing: how it is resized and cut.
        crop: the smallest share of the area in a random crop; 1 for the usual cut.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, crop: float = 1.0) -> None:
        self.images, self.preprocessing, self.crop = images, preprocessing, crop

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Read:
        """Raises ValueError where no image of the set can be read."""
        place, seed = key
        broken: list[str] = []
        for step in range(len(self.images)):
            here = (place + step) % len(self.images)
            try:
                return Read(self._read(here, seed), self.images.labels[here], here, broken)
            except BROKEN as error:
                broken.append(f"{self.images.name(here)}: {error}")
        raise ValueError(f"no image can be read, the first is {broken[0]}")

    def _read(self, place: int, seed: int) -> Tensor:
        image = self.images.image(place)
        if self.crop == 1.0:
            return self.preprocessing.pixels(image)
        whole = opened(image)
        return self.preprocessing.pixels(whole, random_crop((whole.width, whole.height), self.crop, seed))


def random_crop(size: tuple[int, int], share: float, seed: int) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) of ``share`` to all of an image of (width, height) (Inception's crops, arXiv:1409.4842)."""
    width, height = size
    draw = generator(seed)
    for _ in range(10):
        area = width * height * (share + (1 - share) * torch.rand((), generator=draw).item())
        low, high = map(log, RATIOS)
        ratio = exp(low + (high - low) * torch.rand((), generator=draw).item())
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(width - w + 1, (), generator=draw))
            top = int(torch.randint(height - h + 1, (), generator=draw))
            return left, top, left + w, top + h
    return 0, 0, width, height


def stacked(items: list[Read]) -> Batch:
    """A batch of what was read."""
    return Batch(
        torch.stack([item.image for item in items]),
        torch.tensor([item.label for item in items]),
        [item.place for item in items],
        [words for item in items for words in item.broken],
    )


class Order:
    """The keys of this process's micro-batches from a step on: ``[(place, seed), ...]`` for each.

    Every epoch is an order of its own. What fills no whole step waits for another epoch's order.

    Args:
        count: images in the set.
        batch, micro_batch: images of a step, over all processes, and of a micro-batch.
        seed: of the orders and crops.
        start, stop: the first step, and the one after the last, counted from the beginning of training.
        process, processes: which one this is, and of how many.
    """

    def __init__(
        self, count: int, batch: int, micro_batch: int, seed: int, start: int, stop: int, process: int, processes: int
    ) -> None:
        self.count, self.batch, self.micro_batch, self.seed = count, batch, micro_batch, seed
        self.start, self.stop, self.process, self.processes = start, stop, process, processes

    def __len__(self) -> int:
        return (self.stop - self.start) * (self.batch // self.micro_batch // self.processes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.count // self.batch
        epoch, order = -1, torch.empty(0)
        for step in range(self.start, self.stop):
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = torch.randperm(self.count, generator=generator(self.seed, "order", epoch))
            first = step % per_epoch * self.batch
            for micro in range(self.process, self.batch // self.micro_batch, self.processes):
                places = order[first + micro * self.micro_batch :][: self.micro_batch].tolist()
                yield [(place, seed_of(self.seed, "crop", epoch, place)) for place in places]


def loader(reading: Reading, batches: Any, workers: int) -> Iterable[Batch]:
    """Batches in that order, read by so many processes beside this one."""
    # Its own generator: PyTorch would draw the workers' seeds from the one that everything is drawn from.
    read: Any = DataLoader(
        reading,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=stacked,
        generator=torch.Generator().manual_seed(0),
        pin_memory=torch.cuda.is_available(),
    )
    found: Iterable[Batch] = read
    return found


def in_order(count: int, batch: int, process: int = 0, processes: int = 1) -> list[list[tuple[int, int]]]:
    """The keys of this process's share of a set, as they come. Every process has as many batches: the last of some may come again."""
    places = [*range(process, count, processes)]
    batches = [[(place, 0) for place in places[i : i + batch]] for i in range(0, len(places), batch)]
    most = -(-len(range(0, count, processes)) // batch)
    return batches + [[(min(process, count - 1), 0)]] * (most - len(batches))
