"""Data sets of Hugging Face's ``datasets``, from a folder or the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...extras import extra


class Rows:
    """The images of a ``datasets.Dataset``."""

    def __init__(self, rows: Any, what: str) -> None:
        self.column, label = columns(rows.features, what)
        # Decoded one by one, so that a broken one can be told.
        import datasets

        self.rows = rows.cast_column(self.column, datasets.Image(decode=False))
        self.what = what
        self.labels: Sequence[int] = [int(value) for value in rows[label]]
        self.classes = names_of(rows.features[label], self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, i: int) -> Any:
        return opened(self.rows[i][self.column])

    def name(self, i: int) -> str:
        path = self.rows[i][self.column].get("path")
        return f"{self.what}, row {i}" + (f" ({path})" if path else "")


def hugging_face(source: str, split: str = "train") -> Rows:
    """A split of a data set: a folder that ``save_to_disk`` wrote, or a name that ``load_dataset`` takes.

    Raises:
        ImportError: datasets is not installed.
        ValueError: there is none, it has no such split, or no column of images and one of classes.
    """
    with extra("datasets", "a data set of Hugging Face"):
        import datasets
    try:
        if (Path(source) / "dataset_info.json").is_file() or (Path(source) / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(source)
            rows = found[split] if isinstance(found, datasets.DatasetDict) else found
        else:
            rows = datasets.load_dataset(source, split=split)
    except KeyError as error:
        raise ValueError(f"data set {source} has no split {split!r}, only {', '.join(found)}") from error
    except Exception as error:  # it has many of its own
        raise ValueError(f"data set {source}, split {split}: {str(error).strip() or type(error).__name__}") from error
    return Rows(rows, f"{source} {split}")


def columns(features: Any, what: str) -> tuple[str, str]:
    """The names of the first column of images and of that of their classes.

    Raises:
        ValueError: there are none.
    """
    kinds = {name: type(kind).__name__ for name, kind in (features or {}).items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    label = next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    if label is None:
        whole = [
            n for n, kind in (features or {}).items() if str(getattr(kind, "dtype", "")).startswith(("int", "uint"))
        ]
        label = next((name for name in whole if name in ("label", "labels", "fine_label", "class", "cls")), None)
    if image is None or label is None:
        lacking = "images" if image is None else "classes"
        raise ValueError(f"{what} must have a column of {lacking}, it has {', '.join(kinds) or 'none'}")
    return image, label


def names_of(feature: Any, labels: Sequence[int]) -> list[str]:
    names = getattr(feature, "names", None)
    return list(names) if names else [str(i) for i in range(max(labels, default=-1) + 1)]


def opened(row: Any) -> Any:
    """A PIL image of what a column of images holds undecoded. Raises OSError for what is no image."""
    from io import BytesIO

    from PIL import Image, ImageOps, UnidentifiedImageError

    if not isinstance(row, dict):
        return row
    try:
        with Image.open(BytesIO(row["bytes"]) if row.get("bytes") is not None else row["path"]) as file:
            return ImageOps.exif_transpose(file)
    except UnidentifiedImageError:  # whose message has an address in memory
        raise OSError("it is no image") from None
