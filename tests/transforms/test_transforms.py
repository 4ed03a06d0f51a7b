"""Every class of the zoo through every transformation, and the page that says so."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from .checks import COLUMNS
from .table import LIMITS, ROWS, check, page

QUICK = {
    "torch.compile": {"ATSViT(drop_tokens=True)", "LeViT", "ViT"},  # tests/zoo compiles each class, too
    "jit.trace": {"ATSViT", "Swin", "ViT"},  # the exporter of ONNX traces each class, too
    "ONNX, dynamo": {"ViT"},
    "any size": {"ViT"},
    "AOTInductor": set[str](),
}
"""Of the columns that take long, the rows that the suite tries; all others are slow tests."""

CELLS = [
    pytest.param(row, column, marks=[] if row in QUICK.get(column, ROWS) else [pytest.mark.slow])
    for row in sorted(ROWS)
    for column in COLUMNS
]


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_cell(row: str, column: str) -> None:
    with warnings.catch_warnings():
        # PyTorch's fused attention has no batching rule on a CPU, which it says, and a trace warns of every size that it fixes.
        warnings.simplefilter("ignore")
        check(row, column)


def test_limits_are_cells() -> None:
    assert all(row in ROWS and column in COLUMNS for row, column in LIMITS)


def test_the_page_is_what_the_command_writes() -> None:
    assert (Path(__file__).parents[2] / "docs" / "transforms.md").read_text() == page()
