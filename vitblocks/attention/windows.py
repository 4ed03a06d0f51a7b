"""Partitions of a grid into windows: plain objects that say which tokens meet.

``split`` gathers patches ``(B, H*W, C)`` into windows ``(B, G, n, C)``, ``join`` puts them back, ``labels`` says which tokens of a
window may meet: those whose labels agree. Padding has a label of its own, so no row of a mask is empty. A map that is smaller than the
window makes the window as small as the map, along each side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..grid import Grid, Size, image_grid, to_pair
from .attend import mask_bias

PADDING = -1
"""The label of tokens that pad the grid to whole windows."""


class Partition(Protocol):
    """What :class:`WindowAttention` asks of a partition."""

    def window(self, grid: Grid) -> tuple[int, int]:
        """The window's own grid."""
        ...

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        """``(B, H*W, C) -> (B, G, n, C)``."""
        ...

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        """``(B, G, n, C) -> (B, H*W, C)``."""
        ...

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        """``(G, n)`` ints, or None where all tokens of a window meet."""
        ...


def labels_mask(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Labels ``(G, n)`` as the bias ``(G, 1, n, n)`` that keeps tokens of different labels apart."""
    return mask_bias(labels[:, None, :, None] == labels[:, None, None, :], dtype)


def partition_mask(partition: Partition, grid: Grid, like: Tensor) -> Tensor | None:
    """The mask of a partition's windows in the dtype of ``like``; None if all tokens of a window meet."""
    labels = partition.labels(grid, like.device)
    return None if labels is None else labels_mask(labels, like.dtype)


def pad_to(patches: Tensor, grid: Grid, padded: tuple[int, int]) -> Tensor:
    """Patches as a map ``(B, H', W', C)``, zeros added at the bottom and right."""
    height, width = image_grid(grid, "windows")
    image = patches.unflatten(1, (height, width))
    if padded == (height, width):
        return image
    return F.pad(image, (0, 0, 0, padded[1] - width, 0, padded[0] - height))


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _padding_labels(grid: tuple[int, int], padded: tuple[int, int], device: torch.device | None) -> Tensor:
    """``(1, H' * W', 1)``: 0 on the grid, PADDING beyond it."""
    labels = torch.full(padded, PADDING, device=device)
    labels[: grid[0], : grid[1]] = 0
    return labels.reshape(1, -1, 1)


@dataclass(frozen=True)
class Windows:
    """Windows side by side (Twins, arXiv:2104.13840, Section 3.2; Swin's regular ones, arXiv:2103.14030, Section 3.2)."""

    size: Size = 7

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", to_pair(self.size, "window"))

    def window(self, grid: Grid) -> tuple[int, int]:
        height, width = image_grid(grid, "windows")
        rows, columns = to_pair(self.size)
        return min(rows, height), min(columns, width)

    def padded(self, grid: Grid) -> tuple[int, int]:
        """The grid rounded up to whole windows."""
        rows, columns = self.window(grid)
        return round_up(grid[0], rows), round_up(grid[1], columns)

    def counts(self, grid: Grid) -> tuple[int, int]:
        """How many windows lie below one another, and side by side."""
        (rows, columns), (height, width) = self.window(grid), self.padded(grid)
        return height // rows, width // columns

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        rows, columns = self.window(grid)
        image = pad_to(patches, grid, self.padded(grid))
        image = image.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
        return image.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        image = windows.unflatten(2, self.window(grid)).unflatten(1, self.counts(grid))
        image = image.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return image[:, : grid[0], : grid[1]].flatten(1, 2)

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        padded = self.padded(grid)
        if padded == tuple(grid):
            return None
        labels = _padding_labels((grid[0], grid[1]), padded, device)
        return self.split(labels, padded)[0, :, :, 0]


@dataclass(frozen=True)
class ShiftedWindows:
    """Windows on the map rolled up and left by ``shift`` (Swin, arXiv:2103.14030, Section 3.2 and Figure 4).

    Tokens that the roll brought together from opposite sides do not meet. ``shift`` is half the window if None. Along a side that one
    window covers, nothing is shifted.
    """

    size: Size = 7
    shift: Size | None = None

    def __post_init__(self) -> None:
        size = to_pair(self.size, "window")
        shift = (size[0] // 2, size[1] // 2) if self.shift is None else to_pair(self.shift, "shift", minimum=0)
        if not (shift[0] < size[0] and shift[1] < size[1]):
            raise ValueError(f"shift must be smaller than the window {size}, got {shift}")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "shift", shift)

    @property
    def plain(self) -> Windows:
        """The same windows without the shift."""
        return Windows(self.size)

    def window(self, grid: Grid) -> tuple[int, int]:
        return self.plain.window(grid)

    def offsets(self, grid: Grid) -> tuple[int, int]:
        """How far the map is rolled along each side."""
        assert isinstance(self.shift, tuple)
        rows, columns = self.window(grid)
        return (self.shift[0] if rows < grid[0] else 0, self.shift[1] if columns < grid[1] else 0)

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        padded = self.plain.padded(grid)
        down, right = self.offsets(grid)
        image = pad_to(patches, grid, padded).roll((-down, -right), (1, 2))
        return self.plain.split(image.flatten(1, 2), padded)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        padded = self.plain.padded(grid)
        image = self.plain.join(windows, padded).unflatten(1, padded).roll(self.offsets(grid), (1, 2))
        return image[:, : grid[0], : grid[1]].flatten(1, 2)

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        padded, (down, right) = self.plain.padded(grid), self.offsets(grid)
        if padded == tuple(grid) and not (down or right):
            return None
        # A rolled token has wrapped around where its row or column index was below the shift.
        rows = torch.arange(padded[0], device=device)[:, None] < down
        columns = torch.arange(padded[1], device=device)[None, :] < right
        wrapped = (2 * rows.long() + columns.long()).reshape(1, -1, 1)
        padding = _padding_labels((grid[0], grid[1]), padded, device)
        labels = torch.where(padding == PADDING, padding, wrapped)
        return self.split(labels, padded)[0, :, :, 0]


@dataclass(frozen=True)
class DilatedWindows:
    """Windows of tokens that lie ``dilation`` apart (CrossFormer's long distance attention, arXiv:2108.00154, Section 3.2).

    The map is taken apart into ``dilation ** 2`` sub-grids, and each of them into windows of ``size``. ``size=None`` makes each
    sub-grid one window.
    """

    size: Size | None = 7
    dilation: Size = 8

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", to_pair(self.size, "window"))
        object.__setattr__(self, "dilation", to_pair(self.dilation, "dilation"))

    def steps(self, grid: Grid) -> tuple[int, int]:
        """The dilation along each side, no larger than the map."""
        height, width = image_grid(grid, "dilated windows")
        down, right = to_pair(self.dilation)
        return min(down, height), min(right, width)

    def subgrid(self, grid: Grid) -> tuple[int, int]:
        """The grid of one sub-grid, before it is taken apart into windows."""
        down, right = self.steps(grid)
        return -(-grid[0] // down), -(-grid[1] // right)

    def windows(self, grid: Grid) -> Windows:
        """The windows of one sub-grid."""
        return Windows(self.subgrid(grid) if self.size is None else self.size)

    def window(self, grid: Grid) -> tuple[int, int]:
        return self.windows(grid).window(self.subgrid(grid))

    def padded(self, grid: Grid) -> tuple[int, int]:
        """The grid rounded up to whole windows of every sub-grid."""
        down, right = self.steps(grid)
        rows, columns = self.windows(grid).padded(self.subgrid(grid))
        return rows * down, columns * right

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        down, right = self.steps(grid)
        image = pad_to(patches, grid, self.padded(grid)).unflatten(2, (-1, right)).unflatten(1, (-1, down))
        subgrids = image.permute(0, 2, 4, 1, 3, 5)  # (B, down, right, rows, columns, C)
        size = (subgrids.shape[3], subgrids.shape[4])
        windows = self.windows(grid).split(subgrids.flatten(3, 4).flatten(0, 2), size)
        return windows.unflatten(0, (-1, down * right)).flatten(1, 2)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        down, right = self.steps(grid)
        padded = self.padded(grid)
        size = (padded[0] // down, padded[1] // right)
        subgrids = self.windows(grid).join(windows.unflatten(1, (down * right, -1)).flatten(0, 1), size)
        image = subgrids.unflatten(1, size).unflatten(0, (-1, down, right)).permute(0, 3, 1, 4, 2, 5)
        return image.flatten(3, 4).flatten(1, 2)[:, : grid[0], : grid[1]].flatten(1, 2)

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        padded = self.padded(grid)
        if padded == tuple(grid):
            return None
        labels = _padding_labels((grid[0], grid[1]), padded, device)
        return self.split(labels, padded)[0, :, :, 0]


@dataclass(frozen=True)
class LongDistanceWindows:
    """CrossFormer's long distance groups (arXiv:2108.00154, Section 3.2), as the authors' code chooses them.

    :class:`DilatedWindows` of ``size``, ``dilation`` apart; but :class:`Windows` on a map with a side no longer than the window, where a
    group already spans the map and distance would only scatter it.
    """

    size: Size = 7
    dilation: Size = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", to_pair(self.size, "window"))
        object.__setattr__(self, "dilation", to_pair(self.dilation, "dilation"))

    def on(self, grid: Grid) -> Windows | DilatedWindows:
        """The partition that a map of this grid gets."""
        height, width = image_grid(grid, "long distance windows")
        rows, columns = to_pair(self.size)
        small = height <= rows or width <= columns
        return Windows(self.size) if small else DilatedWindows(self.size, self.dilation)

    def window(self, grid: Grid) -> tuple[int, int]:
        return self.on(grid).window(grid)

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        return self.on(grid).split(patches, grid)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        return self.on(grid).join(windows, grid)

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        return self.on(grid).labels(grid, device)
