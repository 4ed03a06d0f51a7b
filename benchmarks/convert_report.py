"""The rows of ``benchmarks.convert`` as tables and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from .tables import markdown

COLUMNS = {
    "swapped": "right after the swap",
    "refitted": "refitted, no step",
    "converted": "converted, no label",
    "labelled": "converted, labels too",
    "plain": "plain swap, labels",
}


@dataclass(frozen=True)
class Row:
    """One conversion of one seed.

    Attributes:
        name: what became of the layers.
        seed: of the images' order, the weights and the batches.
        share, steps: of the original's steps, and how many that is.
        layers: which were converted.
        scores, nats: accuracies in percent, and cross entropies, on the test images.
    """

    name: str
    seed: int
    share: float
    steps: int
    layers: list[str]
    scores: Mapping[str, float]
    nats: Mapping[str, float]


def cell(values: Sequence[float], digits: int) -> str:
    """The mean, and from the least to the most of the seeds."""
    if not values:
        return ""
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def table(rows: Sequence[Row]) -> str:
    """For each share of steps a table of accuracies and one of cross entropies."""
    parts = []
    for share in sorted({row.share for row in rows}):
        own = [row for row in rows if row.share == share]
        seeds, steps = len({row.seed for row in own}), sorted({row.steps for row in own})
        head = f"{share:.0%} of the steps ({', '.join(map(str, steps))}), {seeds} seed(s)"
        parts.append(f"{head}, test accuracy in percent\n\n{lines(own, 'scores', 1)}")
        parts.append(f"{head}, test cross entropy in nats\n\n{lines(own, 'nats', 3)}")
    return "\n\n".join(parts)


def lines(rows: Sequence[Row], what: str, digits: int) -> str:
    """The rows of one share, a column for each stage that they have."""
    columns = [stage for stage in COLUMNS if any(stage in row.scores for row in rows)]
    found = [["attention", *(COLUMNS[stage] for stage in columns)]]
    for name in dict.fromkeys(row.name for row in rows):
        some: list[Mapping[str, float]] = [getattr(row, what) for row in rows if row.name == name]
        found.append([name, *(cell([s[stage] for s in some if stage in s], digits) for stage in columns)])
    return markdown(found)


def figure(rows: Sequence[Row]) -> Figure:
    """A panel for each share that has steps: the mean of every stage, and a line from the least to the most of the seeds.

    What is right after the swap alone lies left of the panel, if it is far below the rest.
    """
    shares = sorted({row.share for row in rows if row.share}) or [0.0]
    names = list(dict.fromkeys(row.name for row in rows if row.share in shares))
    drawn = Figure(figsize=(5 * len(shares) + 2, 1.8 + 0.4 * len(names)), layout="constrained")
    left = min(score for row in rows for stage, score in row.scores.items() if stage != "swapped") - 1
    marks: dict[str, Any] = {}
    for axes, share in zip(drawn.subplots(1, len(shares), sharey=True, squeeze=False)[0], shares, strict=True):
        for i, (stage, shape) in enumerate(zip(COLUMNS, "osDPx", strict=True)):
            for y, name in enumerate(names):
                own = [r.scores[stage] for r in rows if (r.name, r.share) == (name, share) and stage in r.scores]
                if own:
                    height, color = y + 0.12 * (i - 2), f"C{i}"
                    axes.plot([min(own), max(own)], [height, height], color=color, linewidth=1)
                    marks[stage] = axes.plot(statistics.mean(own), height, shape, color=color, markersize=5)[0]
        axes.set(title=f"{share:.0%} of the original's steps", xlabel="test accuracy, %", xlim=(left, 98))
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e4e7eb")
    axes.invert_yaxis()
    drawn.legend(marks.values(), [COLUMNS[stage] for stage in marks], loc="outside lower center", ncols=5, fontsize=8)
    return drawn
