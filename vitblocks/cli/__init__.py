"""The command line ``vitblocks``: what the package does, without writing a program."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDED = ("typer", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code.

    Every error is one line and 2: an argument that will not do, a file that cannot be read or written, an extra that is missing. 130 is
    Ctrl-C, and training that a signal stopped gives 128 and the signal's number.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"vitblocks: needs {' and '.join(missing)}: pip install 'vitblocks[cli]'", file=sys.stderr)
        return 2
    from .app import run

    return run(arguments)
