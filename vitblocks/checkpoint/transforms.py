"""Invertible changes of weights between two layouts.

``forward`` takes the tensors of theirs that a rule names and gives ours; ``inverse`` takes ours and gives theirs, with the same shapes
and values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from einops import rearrange
from torch import Tensor

Tensors: TypeAlias = tuple[Tensor, ...]


class Transform:
    """What every transform is: ``forward`` from theirs to ours, ``inverse`` from ours to theirs, one tensor for each key."""

    def forward(self, theirs: Tensors) -> Tensors:
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def inverse(self, ours: Tensors) -> Tensors:
        raise NotImplementedError(f"{type(self).__name__} must define inverse")


class OnGrid(Transform):
    """A transform of a table of positions that depends on its grid: ``grids_of`` tells those of a table, ``on`` gives that for one."""

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        """The grids that this table of theirs can have been made for, the nearest to a square first; none if it is no such table."""
        raise NotImplementedError(f"{type(self).__name__} must define grids_of")

    def on(self, grid: tuple[int, int]) -> OnGrid:
        """The transform of a table that was made for ``grid``."""
        raise NotImplementedError(f"{type(self).__name__} must define on")


@dataclass(frozen=True)
class TableFromMap(OnGrid):
    """Theirs is a map with these ``axes``, such as ``(1, C, H, W)``, ours a table ``(1, H*W, C)`` of its rows."""

    grid: tuple[int, int]
    axes: str = "b c h w"

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(rearrange(x, f"{self.axes} -> b (h w) c") for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return tuple(rearrange(x, f"b (h w) c -> {self.axes}", h=self.grid[0]) for x in ours)

    def grids_of(self, table: Tensor) -> list[tuple[int, int]]:
        sizes = dict(zip(self.axes.split(), table.shape, strict=False))
        return [(sizes["h"], sizes["w"])] if table.dim() == 4 else []

    def on(self, grid: tuple[int, int]) -> TableFromMap:
        return TableFromMap(grid, self.axes)


@dataclass(frozen=True)
class Same(Transform):
    """The same tensors."""

    def forward(self, theirs: Tensors) -> Tensors:
        return theirs

    def inverse(self, ours: Tensors) -> Tensors:
        return ours


@dataclass(frozen=True)
class Unsqueeze(Transform):
    """Ours has an axis of length 1 at ``dim`` that theirs lacks, such as the batch axis of a position table."""

    dim: int = 0

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(x.unsqueeze(self.dim) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return tuple(x.squeeze(self.dim) for x in ours)


@dataclass(frozen=True)
class Permute(Transform):
    """The axes of ours are those of theirs in the order ``dims``; ``Permute(1, 0)`` transposes a matrix."""

    dims: tuple[int, ...]

    def __init__(self, *dims: int) -> None:
        object.__setattr__(self, "dims", dims)

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(x.permute(self.dims) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        back = sorted(range(len(self.dims)), key=self.dims.__getitem__)
        return tuple(x.permute(back) for x in ours)


@dataclass(frozen=True)
class Reshape(Transform):
    """The same numbers in the same order, of shape ``theirs`` there and ``ours`` here."""

    theirs: tuple[int, ...]
    ours: tuple[int, ...]

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(x.reshape(self.ours) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return tuple(x.reshape(self.theirs) for x in ours)


@dataclass(frozen=True)
class Concat(Transform):
    """Several tensors of theirs, one after another along ``dim``, are one of ours: k and v as ``kv``; q, k and v as ``qkv``.

    ``parts`` is how many, of equal length, or the length of each.
    """

    parts: int | tuple[int, ...]
    dim: int = 0

    def forward(self, theirs: Tensors) -> Tensors:
        return (torch.cat(theirs, dim=self.dim),)

    def inverse(self, ours: Tensors) -> Tensors:
        (whole,) = ours
        if not isinstance(self.parts, int):
            return whole.split(list(self.parts), dim=self.dim)
        return whole.chunk(self.parts, dim=self.dim)


@dataclass(frozen=True)
class Reorder(Transform):
    """Row ``j`` of ours, along ``dim``, is row ``index[j]`` of theirs.

    Raises:
        ValueError: ``index`` is no permutation.
    """

    index: tuple[int, ...]
    dim: int = 0

    def __init__(self, index: Sequence[int], dim: int = 0) -> None:
        object.__setattr__(self, "index", tuple(int(i) for i in index))
        object.__setattr__(self, "dim", dim)
        if sorted(self.index) != list(range(len(self.index))):
            raise ValueError(f"index must be a permutation of 0 to {len(self.index) - 1}, got {self.index}")

    def forward(self, theirs: Tensors) -> Tensors:
        return tuple(x.index_select(self.dim, torch.tensor(self.index, device=x.device)) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        back = sorted(range(len(self.index)), key=self.index.__getitem__)
        return tuple(x.index_select(self.dim, torch.tensor(back, device=x.device)) for x in ours)


def heads_from_interleaved(heads: int, widths: Sequence[int], dim: int = 0) -> Reorder:
    """Theirs is ``[q, k, v of head 0 | q, k, v of head 1 | ...]`` with these widths per head; ours ``[all q | all k | all v]``."""
    step = sum(widths)
    starts = [sum(widths[:i]) for i in range(len(widths))]
    return Reorder(
        [
            h * step + start + i
            for start, width in zip(starts, widths, strict=True)
            for h in range(heads)
            for i in range(width)
        ],
        dim,
    )


def heads_from_fastest(heads: int, head_dim: int, dim: int = 0) -> Reorder:
    """Channel ``i`` of head ``h`` is ``i * heads + h`` in theirs, ``h * head_dim + i`` in ours."""
    return Reorder([i * heads + h for h in range(heads) for i in range(head_dim)], dim)


_PIXEL_AXES = {"c": 1, "h": 2, "w": 3}


@dataclass(frozen=True)
class PatchPixels(Transform):
    """Theirs is a linear embedding ``(dim, pixels)`` of a patch's pixels, ours the convolution ``(dim, channels, height, width)``.

    ``order`` names the axes of the flattened pixels, the slowest first: ``"hwc"`` has the channel fastest. Use :class:`Inverted` for
    their convolution and our Linear.

    Raises:
        ValueError: ``order`` is not made of c, h and w.
    """

    patch_size: tuple[int, int]
    channels: int
    order: str = "hwc"

    def __post_init__(self) -> None:
        if sorted(self.order) != ["c", "h", "w"]:
            raise ValueError(f"order must be the letters c, h and w in some order, got {self.order!r}")

    def forward(self, theirs: Tensors) -> Tensors:
        lengths = {"c": self.channels, "h": self.patch_size[0], "w": self.patch_size[1]}
        sizes = [lengths[axis] for axis in self.order]
        to_kernel = (0, *(1 + self.order.index(axis) for axis in "chw"))
        return tuple(x.reshape(x.shape[0], *sizes).permute(to_kernel) for x in theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        to_pixels = (0, *(_PIXEL_AXES[axis] for axis in self.order))
        return tuple(x.permute(to_pixels).reshape(x.shape[0], prod(x.shape[1:])) for x in ours)


@dataclass(frozen=True)
class Tied(Transform):
    """Several keys of theirs that hold the same values, such as a module reachable under two names, are one of ours.

    Raises:
        ValueError: in ``forward``, where the values differ.
    """

    copies: int

    def forward(self, theirs: Tensors) -> Tensors:
        first, *others = theirs
        if not all(torch.equal(first, other) for other in others):
            raise ValueError("the values of tied keys differ")
        return (first,)

    def inverse(self, ours: Tensors) -> Tensors:
        return ours * self.copies


@dataclass(frozen=True)
class Functions(Transform):
    """A transform from two functions on tuples of tensors, each the other's inverse."""

    to_ours: Callable[[Tensors], Tensors]
    to_theirs: Callable[[Tensors], Tensors]

    def forward(self, theirs: Tensors) -> Tensors:
        return self.to_ours(theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return self.to_theirs(ours)


@dataclass(frozen=True)
class Inverted(Transform):
    """A transform the other way round: ``Inverted(Concat(2))`` splits one of theirs into two of ours."""

    transform: Transform

    def forward(self, theirs: Tensors) -> Tensors:
        return self.transform.inverse(theirs)

    def inverse(self, ours: Tensors) -> Tensors:
        return self.transform.forward(ours)


@dataclass(frozen=True)
class Compose(Transform):
    """One transform after another, on the way from theirs to ours."""

    steps: tuple[Transform, ...]

    def __init__(self, *steps: Transform) -> None:
        object.__setattr__(self, "steps", steps)

    def forward(self, theirs: Tensors) -> Tensors:
        for step in self.steps:
            theirs = step.forward(theirs)
        return theirs

    def inverse(self, ours: Tensors) -> Tensors:
        for step in reversed(self.steps):
            ours = step.inverse(ours)
        return ours
