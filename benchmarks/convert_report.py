"""The rows of ``benchmarks.convert`` as tables and a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        scores: accuracies in percent, on the test images but for ``"validation"``.
    """

    name: str
    seed: int
    share: float
    steps: int
    layers: list[str]
    scores: Mapping[str, float]


def cell(values: Sequence[float]) -> str:
    """The mean, and from the least to the most of the seeds."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def table(rows: Sequence[Row]) -> str:
    """A table for each share of steps."""
    parts = []
    for share in sorted({row.share for row in rows}):
        own = [row for row in rows if row.share == share]
        columns = [what for what in COLUMNS if any(what in row.scores for row in own)]
        lines = [["attention", *(COLUMNS[what] for what in columns)]]
        for name in dict.fromkeys(row.name for row in own):
            some = [row.scores for row in own if row.name == name]
            lines.append([name, *(cell([s[what] for s in some if what in s]) for what in columns)])
        seeds = len({row.seed for row in own})
        steps = ", ".join(str(n) for n in sorted({row.steps for row in own}))
        parts.append(
            f"{share:.0%} of the steps ({steps}), {seeds} seed(s), test accuracy in percent\n\n{markdown(lines)}"
        )
    return "\n\n".join(parts)


def figure(rows: Sequence[Row]) -> Figure:
    """A panel for each share that has steps: the mean of every column, and a line from the least to the most of the seeds."""
    shares = sorted({row.share for row in rows if row.share}) or [0.0]
    names = list(dict.fromkeys(row.name for row in rows if row.share in shares))
    drawn = Figure(figsize=(5 * len(shares) + 2, 1.4 + 0.4 * len(names)), layout="constrained")
    marks = dict(zip(COLUMNS, "osDPx", strict=True))
    for axes, share in zip(drawn.subplots(1, len(shares), sharey=True, squeeze=False)[0], shares, strict=True):
        for i, (what, mark) in enumerate(marks.items()):
            for y, name in enumerate(names):
                own = [r.scores[what] for r in rows if (r.name, r.share) == (name, share) and what in r.scores]
                if own:
                    height, color = y + 0.12 * (i - 2), f"C{i}"
                    axes.plot([min(own), max(own)], [height, height], color=color, linewidth=1)
                    label = COLUMNS[what] if name == names[-1] else None
                    axes.plot(statistics.mean(own), height, mark, color=color, label=label, markersize=5)
        axes.set(title=f"{share:.0%} of the original's steps", xlabel="test accuracy, %")
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e4e7eb")
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="lower left")
    return drawn
