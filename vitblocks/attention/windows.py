"""Partitions of a grid into windows: plain objects that say which tokens meet.

A partition is an einops pattern from a map ``b H W c`` to windows ``b windows tokens c``, and the lengths of the axes that it fixes. A new
one takes a few lines; these are windows of whole rows::

    @dataclass(frozen=True)
    class Rows(Partition):
        pattern = "b (i h) (j w) c -> b (i j) (h w) c"

        def lengths(self, grid):
            return {"h": 1, "w": grid[1]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..grid import Grid, Size, image_grid, to_pair
from ..registry import part
from .attend import mask_bias

PADDING = -1
"""The label of tokens that pad the grid to whole windows."""

Padding: TypeAlias = Literal["masked", "attended"]
"""What becomes of tokens that pad the grid to whole windows: nobody sees them, or everybody in their window does."""


def check_padding(padding: object) -> None:
    """Raise ValueError unless ``padding`` is one of :data:`Padding`."""
    if padding not in get_args(Padding):
        raise ValueError(f"padding must be one of {', '.join(map(repr, get_args(Padding)))}, got {padding!r}")


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def labels_mask(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Labels ``(G, n)`` as the bias ``(G, 1, n, n)`` that keeps tokens of different labels apart."""
    return mask_bias(rearrange(labels, "g n -> g 1 n 1") == rearrange(labels, "g m -> g 1 1 m"), dtype)


class Partition:
    """A partition of a grid into windows: ``split`` gathers patches, ``join`` puts them back, ``labels`` says which of them may meet.

    The map is padded at the bottom and right to whole windows. Padding is masked, unless the partition has an attribute or a field
    ``padding="attended"``.

    Attributes:
        padding: what becomes of padding, see :data:`Padding`.
        pattern: from a map ``b H W c`` to windows ``b G n c``, where the first composite axis of the map is its rows, the second its
            columns, and the last composite axis of the windows the window's own rows ``h`` and columns ``w``. Of each side's axes, one
            may be left out of :meth:`lengths`: it counts how often the others fit, and the map is padded to whole ones.
        sides: the axes of the rows and of the columns of the map, read from the pattern.
    """

    padding: Padding = "masked"
    pattern: ClassVar[str]
    sides: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        rows, columns = re.findall(r"\(([^)]*)\)", cls.pattern.split("->")[0])
        cls.sides = tuple(rows.split()), tuple(columns.split())

    def lengths(self, grid: Grid) -> dict[str, int]:
        """The lengths of the pattern's axes for this grid, but for those that count."""
        raise NotImplementedError(f"{type(self).__name__} must define lengths(grid)")

    def window(self, grid: Grid) -> tuple[int, int]:
        """The window's own grid."""
        lengths = self.lengths(grid)
        return lengths["h"], lengths["w"]

    @property
    def step(self) -> tuple[int, int] | None:
        """Rows and columns between neighbouring tokens of a window; None where that varies."""
        return None

    def padded(self, grid: Grid) -> tuple[int, int]:
        """The grid rounded up to whole windows."""
        lengths = self.lengths(grid)
        rows, columns = [prod([lengths.get(axis, 1) for axis in side]) for side in self.sides]
        height, width = image_grid(grid, "windows")
        return round_up(height, rows), round_up(width, columns)

    def axes(self, grid: Grid) -> dict[str, int]:
        """The lengths of all the pattern's axes for this grid."""
        lengths = dict(self.lengths(grid))
        for side, size in zip(self.sides, self.padded(grid), strict=True):
            known = prod([lengths.get(axis, 1) for axis in side])
            lengths.update({axis: size // known for axis in side if axis not in lengths})
        return lengths

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        """Patches ``(B, H*W, C)`` as windows ``(B, G, n, C)``, zeros where they reach beyond the map."""
        return self._gather(_pad(patches, grid, self.padded(grid)), grid)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        """Windows ``(B, G, n, C)`` as patches ``(B, H*W, C)``: the inverse of :meth:`split`."""
        return _crop(self._scatter(windows, grid), grid, self.padded(grid))

    def _gather(self, image: Tensor, grid: Grid) -> Tensor:
        """A padded map ``(B, H', W', C)`` by the pattern."""
        return rearrange(image, self.pattern, **self.axes(grid))

    def _scatter(self, windows: Tensor, grid: Grid) -> Tensor:
        """The padded map again, by the pattern read backwards."""
        before, after = self.pattern.split("->")
        return rearrange(windows, f"{after} -> {before}", **self.axes(grid))

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        """``(G, n)`` ints: tokens of a window meet where their labels agree. None where all of them do.

        Padding that is masked has a label of its own, so that no row of a mask is empty.
        """
        if not self.masks_padding(grid):
            return None
        padded = self.padded(grid)
        return self.split(padding_labels(grid, padded, device), padded)[0, :, :, 0]

    def masks_padding(self, grid: Grid) -> bool:
        """Whether the grid is padded to whole windows, and padding is masked."""
        return self.padding == "masked" and self.padded(grid) != tuple(grid)

    def mask(self, grid: Grid, like: Tensor) -> Tensor | None:
        """:meth:`labels` as a bias ``(G, 1, n, n)`` in the dtype of ``like``; None if all tokens of a window meet."""
        labels = self.labels(grid, like.device)
        return None if labels is None else labels_mask(labels, like.dtype)


def _pad(patches: Tensor, grid: Grid, padded: tuple[int, int]) -> Tensor:
    """Patches as a map ``(B, H', W', C)``, zeros added at the bottom and right."""
    height, width = image_grid(grid, "windows")
    image = rearrange(patches, "b (h w) c -> b h w c", h=height, w=width)
    if padded == (height, width):
        return image
    return F.pad(image, (0, 0, 0, padded[1] - width, 0, padded[0] - height))


def _crop(image: Tensor, grid: Grid, padded: tuple[int, int]) -> Tensor:
    """A padded map ``(B, H', W', C)`` without its padding, as patches."""
    height, width = grid
    if padded != (height, width):
        image = image[:, :height, :width]
    return rearrange(image, "b h w c -> b (h w) c")


def padding_labels(grid: Grid, padded: tuple[int, int], device: torch.device | None) -> Tensor:
    """``(1, H' * W', 1)``: 0 on the grid, PADDING beyond it."""
    labels = torch.full(padded, PADDING, device=device)
    labels[: grid[0], : grid[1]] = 0
    return rearrange(labels, "h w -> 1 (h w) 1")


@part
@dataclass(frozen=True)
class Windows(Partition):
    """Windows side by side (Twins, arXiv:2104.13840, Section 3.2; Swin's regular ones, arXiv:2103.14030, Section 3.2).

    A map that is smaller than the window makes the window as small as the map, along each side; with ``padding="attended"`` it is padded
    to a window.

    Args:
        size: of a window, an int or a (height, width).
        padding: ``"masked"``, or ``"attended"`` as in the published code of Twins, and of Swin's detectors.
    """

    size: Size = 7
    padding: Padding = field(default="masked", kw_only=True)
    pattern = "b (i h) (j w) c -> b (i j) (h w) c"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", to_pair(self.size, "window"))
        check_padding(self.padding)

    @property
    def step(self) -> tuple[int, int]:
        return 1, 1

    def lengths(self, grid: Grid) -> dict[str, int]:
        height, width = image_grid(grid, "windows")
        rows, columns = to_pair(self.size)
        if self.padding == "attended":
            return {"h": rows, "w": columns}
        return {"h": min(rows, height), "w": min(columns, width)}

    def counts(self, grid: Grid) -> tuple[int, int]:
        """How many windows lie below one another, and side by side."""
        axes = self.axes(grid)
        return axes["i"], axes["j"]


@part
@dataclass(frozen=True)
class ShiftedWindows(Windows):
    """Windows on the map rolled up and left by ``shift`` (Swin, arXiv:2103.14030, Section 3.2 and Figure 4).

    Tokens that the roll brought together from opposite sides do not meet. ``shift`` is half the window if None. Along a side that one
    window covers, nothing is shifted.
    """

    shift: Size | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        size = to_pair(self.size)
        shift = (size[0] // 2, size[1] // 2) if self.shift is None else to_pair(self.shift, "shift", minimum=0)
        if not (shift[0] < size[0] and shift[1] < size[1]):
            raise ValueError(f"shift must be smaller than the window {size}, got {shift}")
        object.__setattr__(self, "shift", shift)

    def offsets(self, grid: Grid) -> tuple[int, int]:
        """How far the map is rolled along each side."""
        assert isinstance(self.shift, tuple)
        (rows, columns), (height, width) = self.window(grid), image_grid(grid, "windows")
        return (self.shift[0] if rows < height else 0, self.shift[1] if columns < width else 0)

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        down, right = self.offsets(grid)
        image = _pad(patches, grid, self.padded(grid)).roll((-down, -right), (1, 2))
        return self._gather(image, grid)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        return _crop(self._scatter(windows, grid).roll(self.offsets(grid), (1, 2)), grid, self.padded(grid))

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        (height, width), (down, right) = self.padded(grid), self.offsets(grid)
        if not (self.masks_padding(grid) or down or right):
            return None
        # A rolled token has wrapped around where its row or column index was below the shift.
        rows = torch.arange(height, device=device)[:, None] < down
        columns = torch.arange(width, device=device)[None, :] < right
        labels = rearrange(2 * rows.long() + columns.long(), "h w -> 1 (h w) 1")
        if self.masks_padding(grid):
            padding = padding_labels(grid, (height, width), device)
            labels = torch.where(padding == PADDING, padding, labels)
        return self.split(labels, (height, width))[0, :, :, 0]


@part
@dataclass(frozen=True)
class GridWindows(Windows):
    """Tokens that lie evenly over the whole map, ``size`` along each side, in each window (MaxViT, arXiv:2204.01697, Section 3.2).

    Arguments: see :class:`Windows`. How far apart they are depends on the map, which is padded to a multiple of ``size``.
    """

    pattern = "b (h i) (w j) c -> b (i j) (h w) c"

    @property
    def step(self) -> None:  # type: ignore[override]
        return None


@part
@dataclass(frozen=True)
class DilatedWindows(Partition):
    """Windows of tokens that lie ``dilation`` apart (CrossFormer's long distance attention, arXiv:2108.00154, Section 3.2).

    The map is taken apart into ``dilation ** 2`` sub-grids, and each of them into windows of ``size``. ``size=None`` makes each
    sub-grid one window.

    Args:
        size: of a window, an int or a (height, width), or None.
        dilation: rows and columns between two tokens of a window.
        padding: ``"masked"`` or ``"attended"``.
    """

    size: Size | None = 7
    dilation: Size = 8
    padding: Padding = field(default="masked", kw_only=True)
    pattern = "b (i h r) (j w s) c -> b (r s i j) (h w) c"

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", to_pair(self.size, "window"))
        object.__setattr__(self, "dilation", to_pair(self.dilation, "dilation"))
        check_padding(self.padding)

    @property
    def step(self) -> tuple[int, int]:
        return to_pair(self.dilation)

    def lengths(self, grid: Grid) -> dict[str, int]:
        height, width = image_grid(grid, "dilated windows")
        down, right = to_pair(self.dilation)
        if self.padding == "masked":
            down, right = min(down, height), min(right, width)
        subgrid = (-(-height // down), -(-width // right))
        rows, columns = subgrid if self.size is None else to_pair(self.size)
        if self.padding == "attended":
            return {"h": rows, "w": columns, "r": down, "s": right}
        return {"h": min(rows, subgrid[0]), "w": min(columns, subgrid[1]), "r": down, "s": right}
