"""``python -m tests.transforms [--write PAGE.md]``: check every cell of the table, and write the page if all of them hold."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from .checks import COLUMNS
from .table import LIMITS, ROWS, check, page


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.transforms", description="Check the table of transformations."
    )
    parser.add_argument("--write", metavar="PAGE.md", type=Path, help="where the table goes if every cell holds")
    path: Path | None = parser.parse_args().write
    failed = False
    for row in sorted(ROWS):
        for column in COLUMNS:
            torch.manual_seed(0)
            try:
                check(row, column)
            except Exception as error:
                failed = True
                print(f"{row}, {column}: FAILED, {type(error).__name__}: {error}", file=sys.stderr)
            else:
                print(f"{row}, {column}: {'limited, as said' if (row, column) in LIMITS else 'ok'}")
    if path is not None and not failed:
        path.write_text(page())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
