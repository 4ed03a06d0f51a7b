"""Position tables made for one grid, resized for another."""

from __future__ import annotations

from math import isqrt

import torch
from einops import rearrange
from torch import Tensor, nn

from ..position import DistanceBias, LearnedPosition, RelativeBias
from ..position.resize import Resize, resize_table, resize_table_as_timm


def published_by(layout: object) -> Resize:
    """How the code that a layout is named after resizes learned positions."""
    return resize_table_as_timm if layout == "timm" else resize_table


def resize_to(owner: nn.Module, name: str, value: Tensor, how: Resize = resize_table) -> Tensor | None:
    """``value`` in the shape that the position table ``name`` of ``owner`` has, learned positions resized by ``how``.

    None unless ``owner`` has such a table, the shapes differ in the number of places alone, and the places of ``value`` form a square.
    """
    if name != "table" or not isinstance(owner, (DistanceBias, LearnedPosition, RelativeBias)):
        return None
    table = owner.table
    if isinstance(owner, DistanceBias):
        return resize_distances(value, owner.grid) if value.shape[:-2] == table.shape[:-2] else None
    places = table.dim() - 2  # the axis of places, before the last: channels or heads
    if value.dim() != table.dim() or value.shape[:places] != table.shape[:places] or value.shape[-1] != table.shape[-1]:
        return None
    if isinstance(owner, RelativeBias):
        return resize_places(value, (2 * owner.grid[0] - 1, 2 * owner.grid[1] - 1))
    prefix, patches = value[:, : owner.num_prefix], value[0, owner.num_prefix :]
    resized = resize_places(patches, owner.grid, how)
    return None if resized is None else torch.cat([prefix, resized[None]], dim=1)


def resize_places(table: Tensor, size: tuple[int, int], how: Resize = resize_table) -> Tensor | None:
    """``(S*S, C) -> (H*W, C)``, bicubic in two dimensions; None if the places form no square."""
    side = isqrt(table.shape[0])
    if side == 0 or side * side != table.shape[0]:
        return None
    image = rearrange(table, "(h w) c -> 1 c h w", h=side)
    return rearrange(how(image, size), "1 c h w -> (h w) c")


def resize_distances(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(heads, S, S) -> (heads, H, W)``: the distances that a smaller grid has, or all of them bicubic for a larger one."""
    larger = (max(grid[0], table.shape[1]), max(grid[1], table.shape[2]))
    return resize_table(table[None], larger)[0, :, : grid[0], : grid[1]]
