"""The command line ``vitblocks``: what the package does, without writing a program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..extras import missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code.

    Every error is one line and 2: an argument that will not do, a file that cannot be read or written, an extra that is missing. 130 is
    Ctrl-C, and training that a signal stopped gives 128 and the signal's number.
    """
    if lacking := missing("typer", "rich"):
        print(f"vitblocks: {lacking}", file=sys.stderr)
        return 2
    from .app import run

    return run(arguments)
