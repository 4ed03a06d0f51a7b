"""``python -m tests.border.matrix [NAME ...]``: measure rows, all if none is named; write what they are off by, on its page, too."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .fresh import Fresh
from .row import measure
from .rows import ROWS

FILE = Path(__file__).parent / "measured.json"


def measured() -> dict[str, dict[str, object]]:
    """What was measured last, by row."""
    found: dict[str, dict[str, object]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.border.matrix", description="Measure the matrix.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows whose names start so")
    names: list[str] = parser.parse_args().names
    failed, fresh = False, Fresh()
    for name, (_, row) in ROWS.items():
        if names and not name.startswith(tuple(names)):
            continue
        try:
            errors = measure(row, fresh)
        except Exception as error:
            failed = True
            print(f"{name}: FAILED, {type(error).__name__}: {str(error)[:400]}", file=sys.stderr)
            continue
        print(
            f"{name}: {errors.adopted:.1e} adopted, {errors.loaded:.1e} loaded, {', '.join(errors.sizes)}", flush=True
        )
        found = measured()  # another process may have added to it
        found[name] = {**errors._asdict(), "adopted": f"{errors.adopted:.1e}", "loaded": f"{errors.loaded:.1e}"}
        FILE.write_text(json.dumps({name: found[name] for name in ROWS if name in found}, indent=1) + "\n")
    fresh.close()
    from .table import write  # which reads what was measured here

    write()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
