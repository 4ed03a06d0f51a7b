"""What loading a checkpoint found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Shape: TypeAlias = tuple[int, ...]


class Missing(NamedTuple):
    """Keys of ours that got no value, and the keys that the checkpoint lacks for them; no key if the layout has none."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.theirs) or 'no key in this layout'} -> {', '.join(self.ours)}"


class Misshaped(NamedTuple):
    """Keys whose shapes in the checkpoint are not what the model needs; ``expected`` and ``found`` are theirs, in order.

    ``why`` says what is wrong where it is not the shape alone.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    expected: tuple[Shape, ...]
    found: tuple[Shape, ...]
    why: str = ""

    def __str__(self) -> str:
        if self.why:
            return f"{', '.join(self.theirs)} is {self.why} -> {', '.join(self.ours)}"
        parts = zip(self.theirs, self.found, self.expected, strict=True)
        wrong = ", ".join(
            f"{key} is {found}, must be {expected}" for key, found, expected in parts if found != expected
        )
        return f"{wrong} -> {', '.join(self.ours)}"


class Resized(NamedTuple):
    """A position table of ours that was made from one for another grid.

    ``guessed`` where nobody told that grid, so that it was taken for square.
    """

    ours: str
    found: tuple[int, int]
    expected: tuple[int, int]
    guessed: bool = False

    def __str__(self) -> str:
        (rows, columns), (height, width) = self.found, self.expected
        return f"{self.ours}: {rows}x{columns}{' (taken for a square)' if self.guessed else ''} to {height}x{width}"


@dataclass(frozen=True)
class Report:
    """What fitted and what did not. ``ok`` where the model and the checkpoint hold exactly the same. ``print`` it.

    Attributes:
        what: of which layout, into which model.
        loaded: our keys that got a value.
        missing: ours that got none.
        unexpected: theirs that are no part of the model.
        misshaped: theirs with other shapes than the model needs.
        resized: ours that were resized from another grid.
        recomputed: ours that are a formula's, and were computed for our grid.
        ignored: theirs that we compute rather than hold.
        composition: where the model in the file is composed otherwise than ours.
        adapted: ours that were fitted from other classes, channels or patches, and how.
        unwrapped: what was taken away around the entries: names under which they lay, prefixes.
    """

    what: str
    loaded: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[Misshaped, ...] = ()
    resized: tuple[Resized, ...] = ()
    ignored: tuple[str, ...] = ()
    composition: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()
    unwrapped: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped or self.composition)

    def __str__(self) -> str:
        lines = [f"{self.what}: {len(self.loaded)} entries of ours loaded"]
        for name in (
            *("unwrapped", "composition", "missing", "unexpected", "misshaped"),
            *("resized", "recomputed", "adapted", "ignored"),
        ):
            lines += section(name, getattr(self, name))
        return "\n".join(lines)


def section(name: str, entries: Iterable[object], limit: int = 20) -> list[str]:
    """A heading with a count and one line an entry; of many, the first."""
    entries = list(entries)
    shown = [f"    {entry}" for entry in entries[:limit]]
    rest = [f"    and {len(entries) - limit} more"] if len(entries) > limit else []
    return [f"  {name}: {len(entries)}", *shown, *rest] if entries else []
