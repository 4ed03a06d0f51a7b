"""Position tables made for one grid, as those for another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from ..grid import Size, to_pair
from ..position.resize import Resize, resize_table, resize_table_as_timm
from .transforms import OnGrid, Transform
from .wrapping import plain_name

GridSize: TypeAlias = tuple[int, int]


@runtime_checkable
class Placed(Protocol):
    """A part with a table of places on a grid, which can be made from one for another grid.

    Where the table is a formula's, the part is ``fixed``: ``grids_of`` tells by the numbers, and nothing has to be resized.
    """

    grid: GridSize
    table: Tensor

    def grids_of(self, table: Tensor) -> list[GridSize]: ...

    def resized(self, table: Tensor, grid: GridSize, how: Resize | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Resizing:
    """What is to be done with tables for other grids, and what is known of their grids.

    Attributes:
        asked: whether to resize them.
        how: the way to resize learned positions; each part's own if None.
        grid: what was said of their grids: of all, or of each by our key.
        written: what the file says, by our key.
    """

    asked: bool = False
    how: Resize | None = None
    grid: Size | Mapping[str, Size] | None = None
    written: Mapping[str, GridSize] = field(default_factory=dict)

    def check(self, keys: Iterable[str]) -> None:
        """Raise ValueError if ``grid`` is none, is of no use, or names what is none of ``keys``."""
        if self.grid is None:
            return
        if not self.asked:
            raise ValueError(f"grid is for resize=True, got grid={self.grid} without it")
        self.told()
        if isinstance(self.grid, Mapping) and (unknown := self.grid.keys() - set(keys)):
            raise ValueError(f"grid must name entries of the model, got {sorted(unknown)[0]!r}")

    def told(self) -> set[GridSize]:
        """The grids that ``grid`` says."""
        if self.grid is None:
            return set()
        sizes = self.grid.values() if isinstance(self.grid, Mapping) else [self.grid]
        return {to_pair(size, "grid") for size in sizes}

    def of(self, key: str) -> GridSize | None:
        """The grid that the table ``key`` was made for, as far as it is known."""
        if key in self.written:
            return self.written[key]
        said = self.grid.get(key) if isinstance(self.grid, Mapping) else self.grid
        return None if said is None else to_pair(said, "grid")


@dataclass(frozen=True)
class Fitted:
    """A table for the model's grid, and what it was made from."""

    value: Tensor
    grid: GridSize
    how: str = ""
    """``"resized"``, ``"guessed"`` (resized, from a grid that nobody told), ``"recomputed"``; nothing where it was as it had to be."""


PUBLISHED: dict[str, Resize] = {"timm": resize_table_as_timm, "hf": resize_table}
"""How the code that a layout is named after resizes learned positions, where it does it in one way for all models."""


def way(resize: bool | Resize, layout: object = None) -> Resize | None:
    """How learned positions are to be resized: as told, as the code that a layout is named after does it, or each in its own way."""
    if callable(resize):
        return resize
    return PUBLISHED.get(layout) if isinstance(layout, str) else None


def grids_of(model: nn.Module) -> dict[str, GridSize]:
    """The grid of every table of positions in a model, by its key without wrappers."""
    parts = ((name, part) for name, part in model.named_modules() if isinstance(part, Placed))
    return {plain_name(model, f"{name}.table" if name else "table"): part.grid for name, part in parts}


@dataclass(frozen=True)
class Given:
    """A table of a checkpoint, as ours.

    Attributes:
        grids: those that it can have been made for.
        on: the table for one of them.
        same: whether it has the shape that the model's has, in the checkpoint.
    """

    grids: list[GridSize]
    on: Callable[[GridSize], Tensor]
    same: bool


def given(part: Placed, transform: Transform, table: Tensor, same: bool, at: int = 0) -> Given | None:
    """A table of theirs as the one of ours that the transform gives ``at`` a place; None if it does not take one of this shape."""
    try:
        if isinstance(transform, OnGrid):
            made = {grid: transform.on(grid).forward((table,))[0] for grid in transform.grids_of(table)}
            return Given([grid for grid, ours in made.items() if grid in part.grids_of(ours)], made.__getitem__, same)
        ours = transform.forward((table,))[at]
        return Given(part.grids_of(ours), lambda grid: ours, same)
    except (ValueError, RuntimeError, IndexError):
        return None  # a transform made for our sizes: nothing to resize


def fit(part: Placed, key: str, table: Given, resizing: Resizing) -> Fitted | str:
    """A table as one for the part's own grid, or why that is not to be.

    Raises:
        ValueError: the table can be for several grids and nobody told which, or was told a grid that it cannot be for.
    """
    grids = table.grids
    if getattr(part, "fixed", False):
        if table.same and (part.grid in grids or not grids):
            return Fitted(table.on(part.grid), part.grid)
        return (
            Fitted(part.resized(table.on(grids[0]), grids[0]), grids[0], "recomputed")
            if grids
            else "not what its formula gives"
        )
    told = resizing.of(key)
    if (
        table.same
        and part.grid in grids
        and (told in (None, part.grid) or (told not in grids and key not in resizing.written))
    ):
        return Fitted(table.on(part.grid), part.grid)
    if not grids:
        return ""
    if told is not None and told not in grids:
        raise ValueError(f"it is of {_all(grids)} places, not of {_by(told)}")
    if not resizing.asked:
        return f"for a grid of {_by(told)}, must be for {_by(part.grid)}" if table.same and told else ""
    grid = told or _only(part, grids)
    how = "resized" if told or len(grids) == 1 else "guessed"
    return Fitted(part.resized(table.on(grid), grid, resizing.how), grid, how)


def _only(part: Placed, grids: list[GridSize]) -> GridSize:
    """The grid of a table of which only the number of places is known.

    A square one where ours is square, too: that is how models are published. Everything else would be a guess.
    """
    square = grids[0][0] == grids[0][1] and part.grid[0] == part.grid[1]
    if len(grids) == 1 or square:
        return grids[0]
    raise ValueError(
        f"it may be of {_all(grids)} places: to resize it to {_by(part.grid)}, say grid={grids[0]} or whichever it was made for"
    )


def _by(grid: GridSize) -> str:
    return f"{grid[0]}x{grid[1]}"


def _all(grids: list[GridSize]) -> str:
    return " or ".join(map(_by, grids))
