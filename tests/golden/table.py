"""``python -m tests.golden.table FILE.json ... > docs/fidelity.md``: what every case proves, measured now, as a page."""

from __future__ import annotations

import argparse
import sys

from ..border.matrix import table as float32
from .case import Case
from .check import TOLERANCE, build, errors, tolerance
from .disagreements import section

HEAD = """# Equal to the published code

Every model is compared with its published implementation on small configurations, in float64, with weights generated from the names of
the published parameters and loaded through `vitblocks.checkpoint`. The error is the largest difference over the largest value of an
output, the largest of all outputs named. A case fails above {tolerance:.0e}, unless the table says otherwise.

This page is written by `python -m tests.golden.table tests/golden/*.json > docs/fidelity.md`; `make test` checks the same cases.

| case | published implementation | layout | outputs compared | largest error |
|---|---|---|---|---|
"""


def row(path: str) -> str:
    """The line of one case.

    Raises:
        ValueError: an error is above its tolerance, so that the page would claim what is not so.
    """
    case = Case.read(path)
    found = dict(errors(case, build(case)))
    for name, size in found.items():
        if not size <= tolerance(case, name):
            raise ValueError(f"{case.name}: {name} is off by {size:.1e}")
    wide = [f"{name} to {tolerance(case, name):.0e}" for name in found if tolerance(case, name) > TOLERANCE]
    outputs = ", ".join(f"`{name}`" for name in found) + (f" ({', '.join(wide)})" if wide else "")
    return f"| {case.name} | {case.reference} | {case.layout} | {outputs} | {max(found.values()):.1e} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden.table", description="Write the page of golden cases.")
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    files = sorted(parser.parse_args().files)
    print(HEAD.format(tolerance=TOLERANCE) + "\n".join(row(path) for path in files))
    print(float32.section(), end="")
    print(section())
    return 0


if __name__ == "__main__":
    sys.exit(main())
