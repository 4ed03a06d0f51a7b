"""Data sets that are read as they come, because there is no room or time to have them whole."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ...border import Preprocessing
from ...border.preprocessing import opened
from ...extras import extra
from ..seeds import seed_of
from .hugging_face import columns, opened as decoded
from .reading import BROKEN, Batch, Order, random_crop

BUFFER = 1000
"""Rows among which the next is drawn: a stream is shuffled no further, beside the order of its shards."""


class Stream:
    """Rows of a stream, in an order for each epoch that follows from the seed.

    Args:
        rows: a function ``seed, skip -> rows``, which leaves out the first ``skip``.
        count: how many there are.
        classes: the names of the classes.
        column, label: of the image and of its class in a row.
        what: what it is called.
    """

    def __init__(
        self,
        rows: Callable[[int, int], Iterable[Any]],
        count: int,
        classes: Sequence[str],
        column: str,
        label: str,
        what: str,
    ) -> None:
        self.rows, self.count, self.classes, self.what = rows, count, list(classes), what
        self.column, self.label = column, label

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Sequence[int]:
        """Raises ValueError: they are known only as they come."""
        raise ValueError(f"{self.what} is a stream, which cannot be taken apart: name two splits, or hold nothing out")

    def image(self, i: int) -> Any:
        """Raises ValueError: rows have no number."""
        raise ValueError(f"{self.what} is a stream, which has no image {i}")

    def name(self, i: int) -> str:
        return f"{self.what}, row {i} of its order"


class Streaming(IterableDataset[Batch]):
    """The micro-batches of this process from a step on: see :class:`~vitblocks.train.data.reading.Order`.

    In the place of an image that cannot be read comes the first of its micro-batch that can.
    """

    def __init__(self, stream: Stream, order: Order, preprocessing: Preprocessing, crop: float) -> None:
        self.stream, self.order, self.preprocessing, self.crop = stream, order, preprocessing, crop

    def __iter__(self) -> Iterator[Batch]:
        """Raises ValueError where there are fewer rows than were said, or none of a micro-batch can be read."""
        order, per_epoch = self.order, self.order.count // self.order.batch
        epoch = -1
        rows: Iterator[Any] = iter(())
        for step in range(order.start, order.stop):
            first = step % per_epoch * order.batch
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                rows = iter(self.stream.rows(seed_of(order.seed, "order", epoch), first))
            for micro in range(order.batch // order.micro_batch):
                start = first + micro * order.micro_batch
                taken = [row for _, row in zip(range(order.micro_batch), rows, strict=False)]
                if len(taken) < order.micro_batch:
                    raise ValueError(f"{self.stream.what} has fewer than the {order.count} images that were said")
                if micro % order.processes == order.process:
                    yield self._batch(taken, start, epoch)

    def _batch(self, rows: list[Any], start: int, epoch: int) -> Batch:
        images: list[Tensor | None] = []
        broken = []
        for i, row in enumerate(rows, start=start):
            try:
                images.append(self._read(row, seed_of(self.order.seed, "crop", epoch, i)))
            except BROKEN as error:
                images.append(None)
                broken.append(f"{self._name(row, i)}: {error}")
        good = next((k for k, image in enumerate(images) if image is not None), None)
        if good is None:
            raise ValueError(f"no image of a micro-batch can be read, the first is {broken[0]}")
        chosen = [good if image is None else k for k, image in enumerate(images)]
        return Batch(
            torch.stack([image for k in chosen if (image := images[k]) is not None]),
            torch.tensor([int(rows[k][self.stream.label]) for k in chosen]),
            [start + k for k in chosen],
            broken,
        )

    def _read(self, row: Any, seed: int) -> Tensor:
        image = opened(decoded(row[self.stream.column]))
        if self.crop == 1.0:
            return self.preprocessing.pixels(image)
        return self.preprocessing.pixels(image, random_crop((image.width, image.height), self.crop, seed))

    def _name(self, row: Any, i: int) -> str:
        held = row[self.stream.column]
        path = row.get("__key__") or (held.get("path") if isinstance(held, dict) else None)
        return f"{self.stream.what}, {path}" if path else self.stream.name(i)


def stream_loader(streaming: Streaming, workers: int) -> Iterable[Batch]:
    """Its batches, read by one process beside this one if there are to be workers: more would read everything again."""
    found: Any = DataLoader(streaming, batch_size=None, num_workers=min(workers, 1))
    batches: Iterable[Batch] = found
    return batches


def hugging_face_stream(
    source: str, split: str = "train", *, count: int | None = None, classes: int | None = None
) -> Stream:
    """A split of a data set of Hugging Face as a stream, or WebDataset's shards: ``shards/*.tar``.

    Args:
        source: a name that ``load_dataset`` takes, or a pattern of files ending in .tar.
        split: of the data set.
        count: how many images there are, where it does not say so itself.
        classes: how many classes, where it has no names for them.

    Raises:
        ImportError: datasets is not installed.
        ValueError: there is none, it has no images or classes, or does not say how many and nobody else does.
    """
    with extra("datasets", "a data set of Hugging Face"):
        import datasets
    try:
        if source.endswith(".tar"):
            shards = sorted(glob.glob(source)) if "://" not in source else [source]
            if not shards:
                raise ValueError("there are no such files")
            rows = datasets.load_dataset("webdataset", data_files={"train": shards}, split="train", streaming=True)
        else:
            rows = datasets.load_dataset(source, split=split, streaming=True)
    except Exception as error:  # it has many of its own
        raise ValueError(f"data set {source}, split {split}: {str(error).strip() or type(error).__name__}") from error
    image, label = columns(rows.features, f"{source} {split}")
    names = getattr(rows.features[label], "names", None) or (
        None if classes is None else [str(i) for i in range(classes)]
    )
    said = (rows.info.splits or {}).get(split)
    count = count if count is not None else (said.num_examples if said is not None else None)
    if count is None or names is None:
        lacking = "images (count)" if count is None else "classes"
        raise ValueError(f"{source} does not say how many {lacking} it has: say it")
    undecoded = rows.cast_column(image, datasets.Image(decode=False))

    def ordered(seed: int, skip: int) -> Iterable[Any]:
        mixed = undecoded.shuffle(seed=seed % 2**32, buffer_size=BUFFER)
        found: Iterable[Any] = mixed.skip(skip)
        return found

    return Stream(ordered, count, names, image, label, f"{source} {split}")
