"""What docs/fidelity.md proves, paper by paper; ``python -m tests.golden.proofs`` writes it for the package, which has no tests."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from vitblocks.zoo.proofs import PROOFS

from . import builders
from .case import Case
from .check import find_builder

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"
PAPERS = {"deit": "distill", "distillation": "distill"}
"""The folders of models whose builders are called otherwise."""


@cache
def proofs() -> dict[str, list[list[str]]]:
    """Case, published implementation, layout and largest error, by the folder or module of the zoo, as a module of builders is called."""
    homes = {
        id(builder): module.name
        for module in iter_modules(builders.__path__)
        for builder in import_module(f"{builders.__name__}.{module.name}").BUILDERS.values()
    }
    found: dict[str, list[list[str]]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        path = Path(__file__).parent / f"{cells[0]}.json"
        if len(cells) == 5 and path.exists():
            home = homes[id(find_builder(Case.read(str(path))))]
            home = (
                "dinov3" if cells[0].startswith("dinov3") else PAPERS.get(home, home)
            )  # the former is built as an EVA
            found.setdefault(home, []).append([cells[0], cells[1], cells[2], cells[4]])
    return found


def counted() -> dict[str, Any]:
    """How many cases of each layout there are of a paper, and their largest error."""
    found: dict[str, Any] = {}
    for home, rows in sorted(proofs().items()):
        for _, _, layout, error in rows:
            one = found.setdefault(home, {}).setdefault(layout, {"cases": 0, "largest_error": 0.0})
            one["cases"] += 1
            one["largest_error"] = max(one["largest_error"], float(error))
    return found


if __name__ == "__main__":
    PROOFS.write_text(f"{json.dumps(counted(), indent=1)}\n")
