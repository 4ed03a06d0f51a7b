"""The matrix: every family of another library comes in, goes out, and is loaded in a process that has nothing of that library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .matrix.fresh import Fresh
from .matrix.row import BOUND, measure
from .matrix.rows import ROWS

pytestmark = pytest.mark.slow  # models as they are published


@pytest.fixture(scope="module")
def fresh() -> Iterator[Fresh]:
    process = Fresh()
    yield process
    process.close()


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str, fresh: Fresh) -> None:
    library, row = ROWS[name]
    pytest.importorskip(library)
    errors = measure(row, fresh)
    assert max(errors.adopted, errors.loaded) <= BOUND
    if any(width != height for height, width in (*row.sizes, *row.made_for)):
        assert len(errors.sizes) >= 3
