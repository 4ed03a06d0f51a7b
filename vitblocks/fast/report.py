"""What a pass did, and the way back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence


class Report:
    """What a pass changed in a model.

    Attributes:
        name: of the pass.
        changed: what each changed module is now computed by, by its name in the model ("" is the model itself).
        left: why each module that the pass looks for was left, by its name.
        aside: why the whole pass stood aside; None if it did not.
        note: what was measured or assumed, a short sentence, or "".
        parts: the reports of several passes, in the order in which they were made.
    """

    def __init__(
        self,
        name: str,
        *,
        aside: str | None = None,
        note: str = "",
        parts: Sequence[Report] = (),
    ) -> None:
        self.name = name
        self.changed: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.aside = aside
        self.note = note
        self.parts = tuple(parts)
        self._back: list[Callable[[], object]] = []

    def add(self, name: str, how: str, back: Callable[[], object]) -> None:
        """Note a change, and what takes it back."""
        self.changed[name] = how
        self._back.append(back)

    def undo(self) -> None:
        """Put everything back as it was before this pass, whatever other passes were made since; a second time does nothing."""
        for part in reversed(self.parts):
            part.undo()
        while self._back:
            self._back.pop()()

    def __len__(self) -> int:
        """How many changes there were."""
        return len(self.changed) + sum(map(len, self.parts))

    def __bool__(self) -> bool:
        return len(self) > 0

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<Report of {self.name}: {len(self)} changed>"

    def _lines(self) -> Iterator[str]:
        if self.parts:
            yield f"{self.name}: {len(self)} modules changed"
            for part in self.parts:
                yield from (f"  {line}" for line in part._lines())
            return
        said = f": {self.note}" if self.note else ""
        yield (
            f"{self.name} stood aside: {self.aside}"
            if self.aside
            else f"{self.name}, {len(self.changed)} changed{said}"
        )
        yield from (f"  {line}" for line in grouped(self.changed))
        yield from (f"  left: {line}" for line in grouped(self.left))


def grouped(told: Mapping[str, str]) -> Iterator[str]:
    """A line for all names that differ by their numbers alone and of which the same is told: ``12 blocks.*.attn.qkv: ...``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, text in told.items():
        groups.setdefault((re.sub(r"(?<![^.])\d+(?![^.])", "*", name), text), []).append(name)
    for (pattern, text), names in groups.items():
        where = (names[0] or "the model itself") if len(names) == 1 else f"{len(names)} {pattern}"
        yield f"{where}: {text}"
