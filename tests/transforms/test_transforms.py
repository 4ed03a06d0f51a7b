"""Every class of the zoo through every transformation, and the page that says so."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from .checks import COLUMNS
from .table import LIMITS, ROWS, check, page


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", sorted(ROWS))
def test_cell(row: str, column: str) -> None:
    with warnings.catch_warnings():
        # PyTorch's fused attention has no batching rule on a CPU, which it says, and a trace warns of every size that it fixes.
        warnings.simplefilter("ignore")
        check(row, column)


def test_limits_are_cells() -> None:
    assert all(row in ROWS and column in COLUMNS for row, column in LIMITS)


def test_the_page_is_what_the_command_writes() -> None:
    assert (Path(__file__).parents[2] / "docs" / "transforms.md").read_text() == page()
