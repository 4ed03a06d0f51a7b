"""Swin's own parts: its windows, and what becomes of maps that do not divide into them (arXiv:2103.14030)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from torch import Tensor

from ...attention import Partition, ShiftedWindows, Windows
from ...attention.windows import Padding
from ...grid import Grid, Size, image_grid, to_pair
from ...registry import part

Sides: TypeAlias = tuple[int, int]
SwinPadding: TypeAlias = Literal["masked", "attended", "hf", "timm"]
"""What becomes of maps that do not divide into windows, or images that do not divide into patches; see :class:`Swin`."""


@part
@dataclass(frozen=True)
class RolledWindows(ShiftedWindows):
    """Shifted windows as timm's code has them: the map is rolled first, then padded, and padding is attended to.

    Padding then lies between the rows that wrapped around and the end of the map, and the tokens that are kept apart are those in the
    last ``shift`` rows of the *padded* map. Maps that one window covers are shifted too, so that the shift must be 0 along a side where
    they should not be. Where windows divide a larger map these are :class:`~vitblocks.attention.ShiftedWindows`.
    """

    padding: Padding = field(default="attended", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding != "attended":
            raise ValueError(f"padding of rolled windows must be 'attended', got {self.padding!r}")

    def offsets(self, grid: Grid) -> tuple[int, int]:
        return to_pair(self.shift, "shift", minimum=0)  # type: ignore[arg-type]

    def split(self, patches: Tensor, grid: Grid) -> Tensor:
        down, right = self.offsets(grid)
        return Partition.split(self, _roll(patches, grid, (-down, -right)), grid)

    def join(self, windows: Tensor, grid: Grid) -> Tensor:
        return _roll(Partition.join(self, windows, grid), grid, self.offsets(grid))

    def labels(self, grid: Grid, device: torch.device | None = None) -> Tensor | None:
        (height, width), (down, right) = self.padded(grid), self.offsets(grid)
        if not (down or right):
            return None
        rows = torch.arange(height, device=device)[:, None] >= height - down
        columns = torch.arange(width, device=device)[None, :] >= width - right
        labels = rearrange(2 * rows.long() + columns.long(), "h w -> 1 (h w) 1")
        return Partition.split(self, labels, (height, width))[0, :, :, 0]


@part
@dataclass(frozen=True)
class JointlyShiftedWindows(ShiftedWindows):
    """Shifted windows as transformers' code has them: along both sides, or along neither where one window covers either."""

    def offsets(self, grid: Grid) -> tuple[int, int]:
        offsets = super().offsets(grid)
        return offsets if all(offsets) else (0, 0)


def _roll(patches: Tensor, grid: Grid, shift: tuple[int, int]) -> Tensor:
    """Patches ``(B, H*W, C)`` of the map that is rolled down and right by ``shift``."""
    height, width = image_grid(grid, "windows")
    image = rearrange(patches, "b (h w) c -> b h w c", h=height, w=width).roll(shift, (1, 2))
    return rearrange(image, "b h w c -> b (h w) c")


def stage_windows(window: Size | list[Size], stages: int) -> list[Sides]:
    """The (height, width) of the windows of each stage: one for all, or a list of one each.

    Raises:
        ValueError: the list names another number of stages.
    """
    if not isinstance(window, list):
        return [to_pair(window, "window")] * stages
    if len(window) != stages:
        raise ValueError(f"window must be a size or a list of {stages} of them, got {window}")
    return [to_pair(size, "window") for size in window]


def swin_windows(size: Sides, grid: Sides | None, shifted: bool, padding: SwinPadding) -> Partition:
    """The windows of a block, shifted by half or not.

    timm decides by the ``grid`` of the image size that a model is made for, if there is one, along which sides windows are shifted.
    """
    if padding == "timm":
        sides = [0 if grid is not None and grid[i] <= size[i] else size[i] // 2 for i in range(2)]
        return RolledWindows(size, (sides[0], sides[1])) if shifted else Windows(size, padding="attended")
    if padding == "hf":
        return JointlyShiftedWindows(size, padding="attended") if shifted else Windows(size, padding="attended")
    return ShiftedWindows(size, padding=padding) if shifted else Windows(size, padding=padding)
