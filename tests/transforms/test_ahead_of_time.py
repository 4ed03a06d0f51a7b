"""Every class of the zoo as a library that AOTInductor compiled: apart from the table, since a class takes a minute."""

from __future__ import annotations

import pytest

from .checks import ahead_of_time
from .table import ROWS, TRIMMED


@pytest.mark.slow
@pytest.mark.parametrize("row", sorted(set(ROWS) - {TRIMMED}))
def test_other_batches(row: str) -> None:
    ahead_of_time(ROWS[row])
