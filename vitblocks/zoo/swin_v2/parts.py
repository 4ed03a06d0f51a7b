"""Swin V2's own parts: windows that transformers' code shifts on every map (arXiv:2111.09883)."""

from __future__ import annotations

from dataclasses import dataclass

from ...attention import Partition, ShiftedWindows, Windows
from ...grid import Grid, to_pair
from ...registry import part
from ..swin.parts import Sides, SwinPadding, swin_windows


@part
@dataclass(frozen=True)
class AlwaysShiftedWindows(ShiftedWindows):
    """Windows that are shifted on every map, one that a window covers, too: transformers decides that by the image size of a model."""

    def offsets(self, grid: Grid) -> tuple[int, int]:
        return to_pair(self.shift, "shift", minimum=0)  # type: ignore[arg-type]


def swin_v2_windows(window: Sides, grid: Sides | None, shifted: bool, padding: SwinPadding) -> Partition:
    """The windows of a block, on ``grid`` for the image size that a model is made for, if there is one.

    No window is larger than that grid. Transformers' are square, as large and shifted as suits the rows of that grid.
    """
    size = window if grid is None else (min(window[0], grid[0]), min(window[1], grid[1]))
    if padding != "hf":
        return swin_windows(size, grid, shifted, padding)
    square = (size[0], size[0])
    if shifted and (grid is None or grid[0] > size[0]):
        return AlwaysShiftedWindows(square, padding="attended")
    return Windows(square, padding="attended")
