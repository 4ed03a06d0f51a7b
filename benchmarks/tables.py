"""Markdown tables that can be read as text, too."""

from __future__ import annotations

from collections.abc import Sequence

from vitblocks.inspect.table import aligned


def markdown(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """The heads and the rows as a table: the first ``left`` columns aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = [*("-" * width for width in widths[:left]), *(f"{'-' * (width - 1)}:" for width in widths[left:])]
    head, *rows = aligned(lines, left)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
