"""The look of all pictures: colours, sheets of panels, and what is drawn in a panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .pixels import luminance

INK, PAPER, ACCENT, SECOND = "#1f2933", "#ffffff", "#0b6e99", "#c2410c"
FAINT, HIDDEN, MARK = "#66727f", "#aeb8c2", "#22d3ee"
HEAT = "inferno"
PAGE = 7.0  # inches, the text width of a page
SMALL, TINY = 8.0, 6.5  # points
LINE = 0.14  # inches from one line of SMALL text to the next


class Sheet(NamedTuple):
    """A figure and its panels, ``axes[row][column]``."""

    figure: Figure
    axes: list[list[Axes]]


def sheet(
    size: Sequence[int],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    captions: bool = False,
    bar: bool = False,
) -> Sheet:
    """A sheet of bare panels, no wider than a page unless the panels would get too small to read.

    Args:
        size: the (height, width) of what the panels show; only the proportion counts.
        columns: words above each column.
        rows: words left of each row, empty for none.
        captions: whether there is room below each panel for :func:`caption`.
        bar: whether a colour bar stands on the right.
    """
    gap, left = 0.05, 0.06 + 0.066 * max(longest_line(words) for words in rows)
    right = 0.5 if bar else 0.06
    top, below = 0.09 + LINE * max(line_count(words) for words in columns), 0.14 if captions else 0.0
    room = (PAGE - left - right) / len(columns) - gap
    width = min(max(room, 0.62), 1.45)
    height = width * size[0] / size[1]
    step_x, step_y = width + gap, height + gap + below
    whole = (left + step_x * len(columns) - gap + right, top + step_y * len(rows) - gap + 0.06)
    figure = Figure(figsize=whole, dpi=200, facecolor=PAPER)
    axes = [
        [
            bare(
                figure.add_axes(
                    (
                        (left + step_x * j) / whole[0],
                        1 - (top + step_y * i + height) / whole[1],
                        width / whole[0],
                        height / whole[1],
                    )
                )
            )
            for j in range(len(columns))
        ]
        for i in range(len(rows))
    ]
    for panel, words in zip(axes[0], columns, strict=True):
        panel.set_title(words, fontsize=SMALL, color=INK, pad=3)
    for line, words in zip(axes, rows, strict=True):
        row_label(line[0], words, fontsize=SMALL)
    if bar:
        colour_bar(figure, whole, right, top, min(step_y * len(rows) - gap - below, 1.3))
    return Sheet(figure, axes)


def colour_bar(figure: Figure, whole: tuple[float, float], right: float, top: float, height: float) -> None:
    """A bar from 0 to the largest weight at the right edge, ``top`` inches below the upper one."""
    place = (1 - (right - 0.1) / whole[0], 1 - (top + height) / whole[1], 0.07 / whole[0], height / whole[1])
    axes = figure.add_axes(place)
    bar = figure.colorbar(ScalarMappable(cmap=HEAT), cax=axes, ticks=[0, 1])
    bar.ax.set_yticklabels(["0", "max"], fontsize=TINY, color=INK)
    bar.ax.tick_params(length=0, pad=2)
    bar.outline.set_visible(False)


def longest_line(words: str) -> int:
    return max(map(len, words.split("\n")))


def line_count(words: str) -> int:
    return len(words.split("\n")) if words else 0


def bare(axes: Axes) -> Axes:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def title(figure: Figure, words: str, below: str) -> None:
    """A title and a line of explanation, a fixed distance from the top whatever the figure's height."""
    inch = 1 / figure.get_figheight()
    figure.text(0.012, 1 - 0.3 * inch, words, fontsize=14, weight="bold", color=INK)
    figure.text(0.012, 1 - 0.53 * inch, below, fontsize=9.5, color=INK)


def row_label(axes: Axes, words: str, fontsize: float = 9.5) -> None:
    axes.set_ylabel(words, rotation=0, ha="right", va="center", fontsize=fontsize, labelpad=6, color=INK)


def caption(axes: Axes, words: str) -> None:
    axes.set_xlabel(words, fontsize=TINY, color=FAINT, labelpad=2)


def extent(size: Sequence[int]) -> tuple[float, float, float, float]:
    """Where an image of ``(height, width)`` pixels lies on its axes, for anything drawn over it on a coarser grid."""
    return (-0.5, size[1] - 0.5, size[0] - 0.5, -0.5)


def draw_picture(axes: Axes, picture: Tensor) -> None:
    """Colours ``(H, W, 3)``, with a hairline around, so that the edge of a bright image can be seen on paper."""
    axes.imshow(picture.numpy(), interpolation="nearest")
    frame(axes)


def draw_weights(axes: Axes, picture: Tensor, weights: Tensor) -> None:
    """Weights ``(h, w)`` as colour, from 0 to their largest, over the picture ``(H, W, 3)`` in grey."""
    axes.imshow(luminance(picture).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    weights = weights.clamp(min=0)
    share = weights / weights.max().clamp(min=torch.finfo(weights.dtype).tiny)
    alpha = 0.5 + 0.4 * share
    place = extent(picture.shape)
    axes.imshow(share.numpy(), cmap=HEAT, vmin=0, vmax=1, alpha=alpha.numpy(), extent=place, interpolation="nearest")
    frame(axes)


def draw_veil(axes: Axes, picture: Tensor, covered: Tensor, strength: float = 1.0) -> None:
    """The picture ``(H, W, 3)`` with the places that ``covered (h, w)`` names under grey."""
    draw_picture(axes, picture)
    veil = torch.tensor([*to_rgb(HIDDEN), strength]) * torch.ones(*covered.shape, 1)
    veil[..., 3] *= covered
    axes.imshow(veil.numpy(), extent=extent(picture.shape), interpolation="nearest")


def frame(axes: Axes) -> None:
    axes.spines[:].set(visible=True, linewidth=0.4, color=FAINT)


def cell_size(size: Sequence[int], cells: Tensor) -> tuple[float, float]:
    """The height and width in pixels of the cells ``(h, w)`` of an image of that size."""
    return size[0] / cells.shape[0], size[1] / cells.shape[1]


def mark_patch(axes: Axes, patch: tuple[int, int], cells: Tensor, size: Sequence[int], linewidth: float = 1.6) -> None:
    """A frame around one cell (row, column) of those of an image of that size."""
    height, width = cell_size(size, cells)
    corner = (patch[1] * width - 0.5, patch[0] * height - 0.5)
    axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=MARK, linewidth=linewidth))


def frame_reach(axes: Axes, seen: Tensor, size: Sequence[int]) -> None:
    """A dotted line around the cells that could be seen at all, those whose weight is not exactly 0."""
    height, width = cell_size(size, seen)
    reach = F.pad((seen != 0).int(), (1, 1, 1, 1))
    line: dict[str, Any] = {"color": "white", "linewidth": 1.0, "linestyle": (0, (1, 1))}
    for row, column in reach.diff(dim=1)[1:-1].nonzero().tolist():
        axes.plot([column * width - 0.5] * 2, [row * height - 0.5, (row + 1) * height - 0.5], **line)
    for row, column in reach.diff(dim=0)[:, 1:-1].nonzero().tolist():
        axes.plot([column * width - 0.5, (column + 1) * width - 0.5], [row * height - 0.5] * 2, **line)
