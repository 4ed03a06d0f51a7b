"""Data by a name, as the command line gives it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .digits import digits, mnist_5k
from .folder import image_folder
from .hugging_face import hugging_face
from .images import Images, Part, split
from .streams import hugging_face_stream

BUILT_IN = {"digits": digits, "mnist5k": mnist_5k}


class Data(NamedTuple):
    """What is trained on, and what is held out; None where nothing is."""

    train: Images
    held_out: Images | None


def load_data(
    source: str,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    labelled: bool = True,
    splits: tuple[str, str] | None = None,
    count: int | None = None,
    classes: int | None = None,
) -> Data:
    """Images to train on and images to look at how far it came.

    Args:
        source: ``digits``; ``mnist5k``; a folder with a folder for each class, or with ``train`` and ``val`` of that kind;
            or ``hf:NAME`` for a data set of Hugging Face, local or of the Hub. ``stream:NAME`` reads one as it comes, and so
            ``stream:shards/*.tar`` those of WebDataset; of a stream only a second split is held out, which is read whole.
        held_out: share of each class that is held out where the source has no part for that; 0 for nothing.
        seed: which images those are.
        labelled: whether classes are needed.
        splits: of a data set of Hugging Face, the one to train on and the one held out.
        count, classes: of a stream that does not say it: how many images and classes.

    Raises:
        ValueError: it cannot be found, or holds nothing to train on.
        ImportError: what reads it is not installed; the message says which extra.
    """
    if source in BUILT_IN:
        return _parted(BUILT_IN[source](), held_out, seed)
    if source.startswith("hf:"):
        name = source.removeprefix("hf:")
        if splits is not None:
            return Data(hugging_face(name, splits[0]), hugging_face(name, splits[1]))
        return _parted(hugging_face(name), held_out, seed)
    if source.startswith("stream:"):
        name = source.removeprefix("stream:")
        train_split, other_split = splits or ("train", None)
        stream = hugging_face_stream(name, train_split, count=count, classes=classes)
        return Data(stream, None if other_split is None else hugging_face(name, other_split))
    root = Path(source)
    if not root.is_dir():
        raise ValueError(f"there is no data {source!r}: it must be {', '.join(BUILT_IN)}, a folder, or hf:NAME")
    if not (root / "train").is_dir():
        return _parted(image_folder(root, labelled=labelled), held_out, seed)
    train = image_folder(root / "train", labelled=labelled)
    other = next((root / name for name in ("val", "test", "validation") if (root / name).is_dir()), None)
    if other is None:
        return _parted(train, held_out, seed)
    return Data(train, image_folder(other, labelled=labelled, classes=train.classes if labelled else None))


def _parted(images: Images, share: float, seed: int) -> Data:
    if share == 0:
        return Data(Part(images, range(len(images))), None)
    return Data(*split(images, share, seed))
