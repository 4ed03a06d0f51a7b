"""What a command says: for people, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..inspect.table import aligned

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Size = Annotated[
    int | None, typer.Option("--size", min=1, help="Side of the image in pixels; the model's own if not given.")
]


def say(data: Any, as_json: bool, words: str) -> None:
    """The data as JSON, or the words."""
    print(json.dumps(data, indent=2, allow_nan=True) if as_json else words)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows below their heads; the first ``left`` columns aligned left."""
    return "\n".join("  ".join(cells).rstrip() for cells in aligned([heads, *rows], left))


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "Examples:\n\n" + "\n\n".join(lines)
