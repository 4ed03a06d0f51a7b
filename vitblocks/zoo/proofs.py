"""Against what published code the models of a paper were compared, and how far off they were at most."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

PROOFS = Path(__file__).parent / "proofs.json"
"""Written by ``python -m tests.golden.proofs`` from docs/fidelity.md."""


class Proof(NamedTuple):
    """What is known of the weights of one layout.

    Attributes:
        cases: how many small models were compared with the code that the layout is of, in float64.
        largest_error: the largest difference of all of them, over the largest value of that output.
    """

    cases: int
    largest_error: float


@cache
def proofs() -> dict[str, dict[str, Proof]]:
    """By the folder of a paper, such as ``swin``, the proofs of its models by their layouts."""
    read = json.loads(PROOFS.read_text(encoding="utf-8"))
    return {paper: {layout: Proof(**one) for layout, one in layouts.items()} for paper, layouts in read.items()}
