"""Position tables made for one grid, as those for another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from ..grid import Size, to_pair
from ..position.resize import Resize, resize_table, resize_table_as_timm
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


def fit(part: Placed, key: str, value: Tensor, resizing: Resizing) -> Fitted | str:
    """A table as one for the part's own grid, or why that is not to be.

    Raises:
        ValueError: the table can be for several grids and nobody told which, or was told a grid that it cannot be for.
    """
    same = value.shape == part.table.shape
    grids = part.grids_of(value)
    if getattr(part, "fixed", False):
        if same and (part.grid in grids or not grids):
            return Fitted(value, part.grid)
        return Fitted(part.resized(value, grids[0]), grids[0], "recomputed") if grids else "not what its formula gives"
    told = resizing.of(key)
    if same and (told in (None, part.grid) or (told not in grids and key not in resizing.written)):
        return Fitted(value, part.grid)
    if not grids:
        return ""
    if told is not None and told not in grids:
        raise ValueError(f"it has {_places(value)}, which are no grid of {_by(told)}, but {_all(grids)}")
    if not resizing.asked:
        return f"for a grid of {_by(told)}, must be for {_by(part.grid)}" if same and told else ""
    grid = told or _only(part, value, grids)
    return Fitted(part.resized(value, grid, resizing.how), grid, "resized" if told or len(grids) == 1 else "guessed")


def _only(part: Placed, value: Tensor, grids: list[GridSize]) -> GridSize:
    """The grid of a table of which only the number of places is known.

    A square one where ours is square, too: that is how models are published. Everything else would be a guess.
    """
    square = grids[0][0] == grids[0][1] and part.grid[0] == part.grid[1]
    if len(grids) == 1 or square:
        return grids[0]
    raise ValueError(
        f"it has {_places(value)}, which may be {_all(grids)}: to resize it to {_by(part.grid)}, say grid={grids[0]} "
        "or whichever it was made for"
    )


def _places(table: Tensor) -> str:
    return f"the shape {tuple(table.shape)}"


def _by(grid: GridSize) -> str:
    return f"{grid[0]}x{grid[1]}"


def _all(grids: list[GridSize]) -> str:
    return ", ".join(map(_by, grids))
