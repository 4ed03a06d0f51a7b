"""Checks and sizes that zoo constructors share."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from ..checks import check_choice
from ..embed.adaptors import Remainder, check_patches, sliding_grid
from ..grid import Size, to_pair

Number = TypeVar("Number", int, float)


def patch_grid(image_size: Size, patch_size: Size, remainder: Remainder = "refuse") -> tuple[int, int]:
    """The grid of patches of an image; ``remainder`` is that of its embedder.

    Raises:
        ValueError: the image does not divide into patches and is refused, or is smaller than one.
    """
    image, patch = to_pair(image_size, "image_size"), to_pair(patch_size, "patch_size")
    if remainder == "drop":
        return sliding_grid(image, patch, patch)
    if remainder == "pad":
        return -(-image[0] // patch[0]), -(-image[1] // patch[1])
    check_patches(image, patch)
    return image[0] // patch[0], image[1] // patch[1]


def embedded_grid(embed: nn.Module, image_size: Size, channels: int) -> tuple[int, int]:
    """The grid that an embedder gives an image, found by running a copy of it on the meta device.

    Raises:
        ValueError: what the embedder raises for that size.
    """
    image = torch.empty(1, channels, *to_pair(image_size, "image_size"), device="meta")
    height, width = deepcopy(embed).to("meta")(image)[1]
    return height, width


def check_levels(grid: tuple[int, int], levels: int) -> tuple[int, int]:
    """The size of a block where ``2 ** (levels - 1)`` of them lie along each side of the grid.

    Raises:
        ValueError: they do not divide it.
    """
    along = 2 ** min(levels - 1, 64)  # more divide no grid, and take memory
    if grid[0] % along or grid[1] % along:
        raise ValueError(f"num_hierarchies={levels} needs a grid of patches that divides by {along}, got {grid}")
    return grid[0] // along, grid[1] // along


def per_level(name: str, value: int | Sequence[int], levels: int, growth: int) -> tuple[int, ...]:
    """``value`` for each level: as it is if it names each, else growing from level to level.

    Raises:
        ValueError: it names another number of levels.
    """
    if isinstance(value, int):
        return tuple(value * growth**i for i in range(levels))
    if len(value) != levels:
        raise ValueError(f"{name} must be an int or one for each of {levels} levels, got {tuple(value)}")
    return tuple(value)


def prefix_count(pool: str, prefix_tokens: int | None) -> int:
    """How many learned tokens go before the patches: ``prefix_tokens``, or as many as ``pool`` reads if None.

    Raises:
        ValueError: ``pool`` is unknown, or has no token to read.
    """
    check_choice("pool", pool, ("cls", "mean"))
    least = int(pool == "cls")
    count = least if prefix_tokens is None else prefix_tokens
    if count < least:
        raise ValueError(f"prefix_tokens must be at least {least} with pool={pool!r}, got {prefix_tokens}")
    return count


def per_stage(name: str, value: Number | Sequence[Number], stages: int) -> tuple[Number, ...]:
    """``value`` for each stage (or branch, or block): the same for all, or one each.

    Raises:
        ValueError: it names another number of stages.
    """
    values = (value,) * stages if isinstance(value, (int, float)) else tuple(value)
    if len(values) != stages:
        raise ValueError(f"{name} must be a number or {stages} of them, got {values}")
    return values
