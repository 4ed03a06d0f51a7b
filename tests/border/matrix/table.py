"""What was measured, as a section of docs/fidelity.md: ``python -m tests.border.matrix.table`` puts it there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .__main__ import measured

PAGE = Path(__file__).parents[3] / "docs" / "fidelity.md"
NEXT = "\n## Where publications disagree"

HEAD = """
## In float32, live and from files

Models of other libraries, with random weights and norm statistics, of 1000 classes and of 7 (or of none), of 3 channels and of 1. Each is
adopted, gives its weights back to the bit, is saved as its library saves it, and loaded by `vitblocks.load_model` in another process that
has nothing of that library. The errors are the largest of all its images and configurations, of the largest output: rounding of float32,
or none where both compute the same in the same order. `python -m tests.border.matrix` measures them, `python -m tests.border.matrix.table`
writes this table, and `make test-slow` checks what it says.

| model | there | here | images | adopted | loaded elsewhere |
|---|---|---|---|---|---|
"""


def section() -> str:
    """The table of all rows that were measured."""
    return HEAD + "\n".join(_line(name, found) for name, found in measured().items()) + "\n"


def _line(name: str, found: Mapping[str, Any]) -> str:
    there = found["origin"].rpartition(".")[2]
    errors = " | ".join("0" if float(found[key]) == 0 else found[key] for key in ("adopted", "loaded"))
    return f"| {name} | `{there}` | `{found['model']}` | {', '.join(found['sizes'])} | {errors} |"


def write() -> None:
    """Put the section in its place on the page, which is before the next one."""
    before, title, after = PAGE.read_text().partition(NEXT)
    before = before.partition(HEAD.splitlines()[1])[0].rstrip("\n") + "\n"
    PAGE.write_text(f"{before}{section()}{title}{after}")


if __name__ == "__main__":
    write()
