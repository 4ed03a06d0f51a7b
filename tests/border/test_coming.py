"""The tables of docs/border.md name every class that can be adopted, and say what was measured."""

from __future__ import annotations

import vitblocks
from vitblocks.border import origins

from .coming import PAGE, ROWS, page


def test_every_class_that_is_known_has_its_row() -> None:
    named = [name for row in ROWS for name in row.full()]
    known = {name for name, (build, _) in origins().items() if build.__module__.startswith("vitblocks.")}
    assert len(named) == len(set(named))
    assert set(named) == known


def test_ours_are_classes_of_the_zoo() -> None:
    for row in ROWS:
        assert all(hasattr(vitblocks.zoo, name) or hasattr(vitblocks, name) for name in row.ours.split(", ")), row


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text() == page()
