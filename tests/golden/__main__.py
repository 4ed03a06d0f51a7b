"""``python -m tests.golden FILE.json ...``: check case files.

Prints the largest error of every output over that output's largest value. Exits 0 if all are within their tolerance, 1 if one is not,
2 if a file is no case, or nobody has said how to build its model, what a key of its config means, or how to compute one of its outputs.
"""

from __future__ import annotations

import argparse
import sys

from .case import Case, NotACaseError
from .check import NoBuilderError, build, errors, tolerance
from .config import ConfigError


def check(path: str) -> int:
    """Check one file and print what came of it: the exit code."""
    try:
        case = Case.read(path)
        found = dict(errors(case, build(case)))
    except (OSError, NotACaseError, NoBuilderError, ConfigError) as error:
        print(f"{path}: {error}" if isinstance(error, ConfigError) else error, file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    failed = False
    for name, size in found.items():
        within = size <= tolerance(case, name)
        failed |= not within
        print(
            f"{case.name:28} {name:32} {size:.1e}  {'ok' if within else f'FAILED, above {tolerance(case, name):.0e}'}"
        )
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description="Check golden case files.")
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    return max([check(path) for path in parser.parse_args().files])


if __name__ == "__main__":
    sys.exit(main())
