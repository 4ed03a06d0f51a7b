"""What training needs of a set of images, and parts of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from ..seeds import generator


class Images(Protocol):
    """A set of images of known length, each with a class."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""

    @property
    def labels(self) -> Sequence[int]:
        """The class of each image, an index of ``classes``."""

    def __len__(self) -> int: ...

    def image(self, i: int) -> Any:
        """Image ``i`` as :class:`~vitblocks.Preprocessing` takes it: a path, a PIL image, or bytes ``(H, W)`` or ``(H, W, C)``."""

    def name(self, i: int) -> str:
        """What image ``i`` is called where something is said of it: its path, say."""


class Labelled:
    """Images in memory: bytes ``(N, H, W)`` or ``(N, H, W, C)``, or a list of PIL images or paths.

    Args:
        images: as above.
        labels: the class of each, ``(N,)``.
        classes: their names; the numbers if None.
        what: what the images are called together.

    Raises:
        ValueError: not a label for each image, or one that is no class.
    """

    def __init__(
        self,
        images: Any,
        labels: Sequence[int] | torch.Tensor,
        classes: Sequence[str] | None = None,
        what: str = "image",
    ) -> None:
        self.images = images
        self.labels: Sequence[int] = [int(label) for label in labels]
        if len(images) != len(self.labels):
            raise ValueError(f"labels must be as many as images, {len(images)}, got {len(self.labels)}")
        count = max(self.labels, default=-1) + 1
        self.classes: Sequence[str] = [str(i) for i in range(count)] if classes is None else list(classes)
        if any(not 0 <= label < len(self.classes) for label in self.labels):
            raise ValueError(f"labels must lie in 0 ... {len(self.classes) - 1}, got {min(self.labels)} to {count - 1}")
        self.what = what

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> Any:
        return self.images[i]

    def name(self, i: int) -> str:
        image = self.images[i]
        return str(image) if isinstance(image, str) or hasattr(image, "__fspath__") else f"{self.what} {i}"


class Part:
    """Some of the images of a set."""

    def __init__(self, images: Images, places: Sequence[int]) -> None:
        self.whole, self.places = images, list(places)
        self.classes = images.classes
        self.labels: Sequence[int] = [images.labels[place] for place in self.places]

    def __len__(self) -> int:
        return len(self.places)

    def image(self, i: int) -> Any:
        return self.whole.image(self.places[i])

    def name(self, i: int) -> str:
        return self.whole.name(self.places[i])


def split(images: Images, share: float, seed: int) -> tuple[Part, Part]:
    """Two parts: the rest, and ``share`` of each class, chosen by the seed; at least one image of a class that has two.

    Raises:
        ValueError: ``share`` is none between 0 and 1, or leaves nothing on one side.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"held_out must lie between 0 and 1, got {share}")
    rest: list[int] = []
    held: list[int] = []
    for label in range(len(images.classes)):
        places = [i for i, other in enumerate(images.labels) if other == label]
        order = torch.randperm(len(places), generator=generator(seed, "split", label)).tolist()
        count = min(max(round(share * len(places)), 1), len(places) - 1) if places else 0
        held += sorted(places[i] for i in order[:count])
        rest += sorted(places[i] for i in order[count:])
    if not held or not rest:
        raise ValueError(f"{len(images)} images are too few to hold out {share:g} of them")
    return Part(images, rest), Part(images, held)


def few(images: Images, count: int, seed: int) -> Part:
    """``count`` of the images, as many of each class as can be, chosen by the seed.

    Raises:
        ValueError: there are not so many, or fewer than classes are asked for.
    """
    if not len(images.classes) <= count <= len(images):
        raise ValueError(
            f"labels must be {len(images.classes)} to {len(images)} images, one of a class and all, got {count}"
        )
    queues = []
    for label in range(len(images.classes)):
        places = [i for i, other in enumerate(images.labels) if other == label]
        order = torch.randperm(len(places), generator=generator(seed, "few", label)).tolist()
        queues.append([places[i] for i in order])
    chosen: list[int] = []
    depth = 0
    while len(chosen) < count:
        chosen += [queue[depth] for queue in queues if depth < len(queue)][: count - len(chosen)]
        depth += 1
    return Part(images, sorted(chosen))
