"""A few hundred cases of the fuzzer, and the fuzzer itself: that it finds what it looks for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from .case import Case, judge
from .subjects import KINDS, cases
from .table import END, START, Tally, page, verdict_of


def test_a_short_run() -> None:
    tally = Tally(Counter(), {})
    for _, kind, case in cases(0, 250, seed=0):
        tally.add(kind, case.what, case.change, judge(case))
    assert {kind for kind, _ in tally.counts} == KINDS.keys()
    assert verdict_of(tally), tally.report()


def _raise(error: Exception) -> None:
    raise error


def _spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (Case("", "", True, lambda: None), "nonsense accepted"),
        (Case("", "", False, lambda: [torch.tensor(float("nan"))]), "not finite"),
        (Case("", "", False, lambda: torch.ones(2)), "worked"),
        (Case("", "", True, lambda: int("a")), "refused"),
        (Case("", "", True, lambda: 1 / 0), "foreign"),
        (Case("", "", False, lambda: _raise(RuntimeError("can't allocate memory"))), "memory"),
        (Case("", "", False, lambda: _spin()), "hang"),
    ],
)
def test_verdicts(case: Case, verdict: str) -> None:
    assert judge(case, seconds=0.1).name == verdict


def test_a_case_depends_on_its_number_alone() -> None:
    ((_, _, alone),) = cases(17, 18, seed=3)
    *_, (_, _, last) = cases(0, 18, seed=3)
    assert (alone.what, alone.change) == (last.what, last.change)


def test_the_table_is_written_between_its_marks() -> None:
    tally = Tally(Counter({("models", "worked"): 3}), {})
    text = page(f"before\n{START}\nold\n{END}\nafter\n", tally, 3, 0)
    assert "| models | 3 |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")


def test_the_page_has_a_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    assert START in text
    assert "python -m tests.fuzz --cases 10000 --seed 0" in text
