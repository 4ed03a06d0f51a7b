"""What became of all cases: counted, listed, and as a table of docs/reliability.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from re import DOTALL, sub

from .case import VERDICTS, Verdict

RIGHT = ("refused", "worked")
START, END = "<!-- fuzz -->", "<!-- /fuzz -->"


@dataclass
class Tally:
    """Counts by kind and verdict, and for those that are not right what was tried and what it gave."""

    counts: Counter[tuple[str, str]]
    wrong: dict[str, list[str]]

    def add(self, kind: str, what: str, change: str, verdict: Verdict) -> None:
        self.counts[kind, verdict.name] += 1
        if verdict.name not in RIGHT:
            self.wrong.setdefault(verdict.name, []).append(f"{what} {change}: {verdict.said}")

    def total(self, *verdicts: str) -> int:
        return sum(count for (_, name), count in self.counts.items() if name in verdicts)

    def report(self) -> str:
        """The table, and each case that is not right."""
        lines = [f"{name}: {line}" for name, all_of in self.wrong.items() for line in sorted(all_of)]
        return "\n".join([*lines, "", *self.rows()])

    def rows(self) -> list[str]:
        """A row of Markdown for each kind, and one of sums."""
        kinds = sorted({kind for kind, _ in self.counts})
        head = ["| what is called | cases | " + " | ".join(VERDICTS) + " |", "| --- " * (len(VERDICTS) + 2) + "|"]
        body = [_row(kind, [self.counts[kind, name] for name in VERDICTS]) for kind in kinds]
        return [*head, *body, _row("all", [self.total(name) for name in VERDICTS])]


def _row(kind: str, counts: list[int]) -> str:
    return f"| {kind} | {sum(counts):,} | " + " | ".join(f"{count:,}" for count in counts) + " |"


def verdict_of(tally: Tally) -> bool:
    """Whether nothing was lost or silent, and at most 1% of all cases raised another error than ValueError and TypeError."""
    silent = tally.total("nonsense accepted", "not finite", "hang", "crash")
    return silent == 0 and tally.total("foreign", "memory") <= tally.total(*VERDICTS) / 100


def page(text: str, tally: Tally, cases: int, seed: int) -> str:
    """A page with the table between its marks written anew."""
    command = f"`python -m tests.fuzz --cases {cases} --seed {seed}`:"
    table = "\n".join([START, command, "", *tally.rows(), END])
    return sub(f"{START}.*{END}", lambda _: table, text, flags=DOTALL)
