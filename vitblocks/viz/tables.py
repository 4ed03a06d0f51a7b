"""Numbers of a table as colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure


def heat_map(values: Sequence[Sequence[float]], *, rows: Sequence[str], columns: Sequence[str], title: str) -> Figure:
    """A cell for each value, with its number in it; what is not a number stays white.

    Args:
        values: a list for each row.
        rows, columns: their names.
        title: what the values are.
    """
    table = np.array(values, dtype=float)
    figure = Figure(figsize=(min(1.6 + 1.0 * len(columns), 9.0), 1.3 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(table), aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(title)
    found = table[np.isfinite(table)]
    middle = (found.min() + found.max()) / 2 if found.size else 0.0
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axes.text(column, row, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axes)
    return figure
