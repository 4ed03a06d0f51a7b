"""Checks and sizes that zoo constructors share."""

from __future__ import annotations

from collections.abc import Sequence

from ..embed.adaptors import check_patches
from ..grid import Size, to_pair


def patch_grid(image_size: Size, patch_size: Size) -> tuple[int, int]:
    """The grid of patches of an image.

    Raises:
        ValueError: the image does not divide into patches.
    """
    image, patch = to_pair(image_size, "image_size"), to_pair(patch_size, "patch_size")
    check_patches(image, patch)
    return image[0] // patch[0], image[1] // patch[1]


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
