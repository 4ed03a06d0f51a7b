"""The tables of docs/border.md name every class that can be adopted, and say what was measured."""

from __future__ import annotations

import re

import vitblocks
from vitblocks.border import origins
from vitblocks.registry import list_parts

from .coming import PAGE, ROWS, page


def test_every_class_that_is_known_has_its_row() -> None:
    named = [name for row in ROWS for name in row.full()]
    known = {name for name, (build, _) in origins().items() if build.__module__.startswith("vitblocks.")}
    assert len(named) == len(set(named))
    assert set(named) == known


def test_ours_are_classes_of_ours() -> None:
    classes = {part.__name__ for part in list_parts().values()}
    assert {name for row in ROWS for name in row.ours.split(", ")} <= classes


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text() == page()


def test_what_is_called_otherwise_is_there() -> None:
    table = PAGE.read_text().partition("## Around it")[2]
    ours = [row.rsplit(" | ", 1)[1] for row in table.splitlines() if row.startswith("| `")]
    assert len(ours) >= 8
    for owner, name in re.findall(r"\b(vitblocks|model)\.(\w+)", " ".join(ours)):
        assert hasattr(vitblocks if owner == "vitblocks" else vitblocks.Model, name), name
