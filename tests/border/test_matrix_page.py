"""What the matrix measured is on its pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from .matrix.__main__ import measured
from .matrix.rows import ROWS
from .matrix.table import PAGE, section

BORDER = (Path(__file__).parents[2] / "docs" / "border.md").read_text()


def test_the_page_says_what_was_measured() -> None:
    assert section() in PAGE.read_text(), "run python -m tests.border.matrix.table"


def test_what_was_measured_is_still_asked() -> None:
    assert measured().keys() <= ROWS.keys()


@pytest.mark.parametrize("name", [name for name in measured() if name.startswith("transformers")])
def test_every_class_that_comes_in_is_named(name: str) -> None:
    found = measured()[name]
    for kind in (str(found["origin"]).rpartition(".")[2], found["model"]):
        assert f"`{kind}`" in BORDER
