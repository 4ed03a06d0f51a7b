"""A folder of images, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder:
    """The images of ``root/CLASS/**``, in order of their names. See :func:`image_folder`."""

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.paths: list[Path] = []
        self.labels: Sequence[int] = []
        labels = []
        for label, name in enumerate(self.classes):
            found = _images(root / name)
            self.paths += found
            labels += [label] * len(found)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, i: int) -> Path:
        return self.paths[i]

    def name(self, i: int) -> str:
        return str(self.paths[i])


def image_folder(
    root: str | os.PathLike[str], *, labelled: bool = True, classes: Sequence[str] | None = None
) -> ImageFolder:
    """The images of a folder that has a folder for each class: ``root/cat/1.jpg``.

    Args:
        root: the folder.
        labelled: whether classes are needed: False takes images that lie in the folder itself, too, all of one class.
        classes: the names of the classes, those of the training images say; the folders' if None.

    Raises:
        ValueError: there is no such folder, no image in it, one class only, or a class that is none of ``classes``.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not labelled:
        return _filled(ImageFolder(root.parent, [root.name]), root)
    names = [name for name in found if _images(root / name)]
    if not names:
        loose = "; its images must lie in a folder for each class" if _images(root) else ""
        raise ValueError(f"there are no images of a class in {root}{loose}")
    if classes is not None and (others := sorted({*names} - {*classes})):
        raise ValueError(f"{root} has {others[0]!r}, which is none of the classes {', '.join(classes)}")
    if classes is None and len(names) < 2:
        raise ValueError(f"{root} has one class only, {names[0]!r}: there is nothing to tell apart")
    return _filled(ImageFolder(root, names if classes is None else classes), root)


def _filled(images: ImageFolder, root: Path) -> ImageFolder:
    if not len(images):
        raise ValueError(f"there are no images ({', '.join(SUFFIXES)}) in {root}")
    return images


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
