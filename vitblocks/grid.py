"""Where the tokens of an image lie: the grid, the prefix before it, and the way to a map and back.

Every layer of this package is called as ``layer(x, grid) -> x``. ``x`` is ``(B, N, C)``; ``grid`` is a plain tuple of ints. The
last ``prod(grid)`` tokens are the patches, row-major; the tokens before them are *prefix tokens* (class, distillation, register,
regional). ``grid`` is ``(H, W)``, ``(K,)`` once tokens have been dropped, and ``(0, 0)`` when prefix tokens stand alone.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from math import prod
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor

from .checks import check_grid, half_kernel as half_kernel, to_pair as to_pair, tracing as tracing
from .registry import part

Grid: TypeAlias = tuple[int, ...]
Size: TypeAlias = int | tuple[int, int]


def image_grid(grid: Grid, what: str) -> tuple[int, int]:
    """The grid as ``(H, W)``, for a part that needs the geometry of the image.

    Raises:
        ValueError: the tokens no longer lie on an image grid, because some were dropped.
    """
    if not torch.compiler.is_compiling():
        check_grid(grid)
    if len(grid) != 2:
        raise ValueError(
            f"{what} needs tokens on an (H, W) grid, got grid {grid}: tokens were dropped or never had one"
        )
    return grid[0], grid[1]


def length(x: Tensor, axis: int) -> int:
    """The length of an axis of ``x``.

    An int, or a symbol to ``torch.compile`` and ``torch.export``. Within ``torch.jit.trace``, and the ONNX exporter that is built on it,
    it is an int too, where ``x.shape`` has tensors: a traced model has one image size, and what follows from the size is no part of it.
    """
    return int(x.shape[axis]) if tracing() else x.shape[axis]


def map_size(image: Tensor) -> tuple[int, int]:
    """The (height, width) of a map ``(B, C, H, W)``, see :func:`length`."""
    return length(image, 2), length(image, 3)


@part
def num_prefix(x: Tensor, grid: Grid) -> int:
    """How many prefix tokens ``x (B, N, C)`` carries before the patches of ``grid``.

    Raises:
        TypeError: ``grid`` is no tuple of ints.
        ValueError: ``grid`` is no grid, or ``x`` holds fewer tokens than it has patches.
    """
    if not torch.compiler.is_compiling():
        check_grid(grid)
    prefix = length(x, 1) - prod(grid)
    if prefix < 0:
        raise ValueError(f"x has {x.shape[1]} tokens, fewer than the {prod(grid)} patches of grid {grid}")
    return prefix


def split_prefix(x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """``x (B, P + H*W, C)`` as prefix tokens ``(B, P, C)`` and patches ``(B, H*W, C)``; both are views."""
    prefix = num_prefix(x, grid)
    if prefix == 0:
        return x[:, :0], x
    # One split, whose gradient is one concatenation: two slices would each have one of the size of x.
    first, patches = x.split([prefix, x.shape[1] - prefix], dim=1)
    return first, patches


def require_no_prefix(x: Tensor, grid: Grid, what: str) -> None:
    """Raise ValueError if ``x`` carries prefix tokens, which ``what`` cannot place."""
    if num_prefix(x, grid):
        raise ValueError(
            f"{what} takes no prefix tokens, got {num_prefix(x, grid)} before the patches of grid {grid}: add them after it"
        )


def to_map(patches: Tensor, grid: Grid) -> Tensor:
    """Patches ``(B, H*W, C)`` as a map ``(B, C, H, W)``: a view, strided as channels-last."""
    height, width = image_grid(grid, "to_map")
    return rearrange(patches, "b (h w) c -> b c h w", h=height, w=width)


def to_tokens(image: Tensor) -> tuple[Tensor, Grid]:
    """A map ``(B, C, H, W)`` as patches ``(B, H*W, C)`` and their grid; no copy if the map is channels-last."""
    return rearrange(image, "b c h w -> b (h w) c"), map_size(image)


def channels_last(image: Tensor) -> Tensor:
    """The same map ``(B, C, H, W)``, the channels of a place side by side in memory, as those of a token are.

    Convolutions keep that order, so that every later change between tokens and maps is a view. Written with a change of axes rather than
    ``contiguous(memory_format=...)``, which ``torch.func.vmap`` does not know.
    """
    return rearrange(rearrange(image, "b c h w -> b h w c").contiguous(), "b h w c -> b c h w")


def one_line(record: Any) -> str:
    """A dataclass or a named tuple in one line, tensors as their shapes and lists as their lengths."""
    names = [field.name for field in fields(record)] if is_dataclass(record) else record._fields
    return f"{type(record).__name__}({', '.join(f'{name}={_said(getattr(record, name))}' for name in names)})"


def _said(value: object) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return f"{len(value)} of them" if isinstance(value, list) else repr(value)
