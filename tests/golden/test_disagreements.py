"""Where publications disagree: both ways are there, they are not the same, and docs/fidelity.md says by how much."""

from __future__ import annotations

from pathlib import Path

import pytest

from .disagreements import DISAGREEMENTS, Disagreement, distance, section

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_the_page_says_what_is_found() -> None:
    published = PAGE.read_text().split("## Where publications disagree")[1].strip().splitlines()[-len(DISAGREEMENTS) :]
    found = section().splitlines()[-len(DISAGREEMENTS) :]
    for said, now in zip(map(cells, published), map(cells, found), strict=True):
        assert said[:-1] == now[:-1]
        assert float(said[-1]) == pytest.approx(float(now[-1]), rel=0.35)  # one digit, which may fall either way


@pytest.mark.parametrize("disagreement", DISAGREEMENTS, ids=lambda d: f"{d.argument}-{d.sides[1]}")
def test_both_ways_are_reachable_and_differ(disagreement: Disagreement) -> None:
    assert distance(disagreement) > 1e-8
