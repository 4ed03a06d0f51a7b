"""A diagram of a model: what each stage is made of, what it gives, what it costs."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from ..grid import Size
from .column import draw_column
from .drawing import ACCENT, FAINT, PAPER, bare
from .marks import (
    GAP,
    PAD,
    STEP,
    Frame,
    Scale,
    arrow,
    draw_box,
    draw_cuboids,
    lines_of,
    short,
    times_words,
    token_words,
    write,
)
from .outline import TIMES, Outline, Part, outline

WIDTH = 7.2  # inches, as all that follows
NARROW = 5.0
"""Below this there is no room for columns beside the boxes."""

FRAME = Frame(left=0.95, width=3.4, letters=56)
COLUMNS = {"tokens": 4.98, "channels": 5.5, "stride": 5.84, "parameters": 6.5, "MACs": 7.1}  # right edges
BAR = 0.48


def stage_diagram(model: nn.Module, image_size: Size | None = None, *, width: float = WIDTH) -> Figure:
    """A model from the image down: embedder, stages, head.

    Each has a box of its layers (transitions, which may change the grid, in orange; ``×n`` for layers that repeat); left of it the tokens
    it gives as a cuboid, high and wide as their grid and deep as their channels; right of it their number (prefix tokens after a plus),
    channels, stride in pixels, parameters and multiply-adds for one image. A cuboid with dashed edges stands for tokens that lie on no
    grid any more: adaptive sampling, at the most that it keeps. Nothing is computed: the model runs on the meta device.

    Args:
        model: a :class:`~vitblocks.Model` or :class:`~vitblocks.CrossViT`.
        image_size: an int or a (height, width); if None the size that the model was made for, 224 where it names none.
        width: in inches, at least 3. Below 5, as on a phone, numbers stand below the layers instead of beside them; from 5 on the
            diagram is drawn 7.2 wide.

    Raises:
        TypeError: another model.
        ValueError: what the model raises for that size; ``width`` below 3.
    """
    if width < 3:
        raise ValueError(f"width must be at least 3 inches, got {width}")
    found = outline(model, image_size)
    return draw_outline(found) if width >= NARROW else draw_column(found, width)


def draw_outline(found: Outline) -> Figure:
    """The diagram of what :func:`~vitblocks.viz.outline.outline` found."""
    heights = [box_height(part) for part in found.parts]
    head, foot = 0.62, 0.34
    whole = head + sum(heights) + GAP * (len(heights) - 1) + foot
    figure = Figure(figsize=(WIDTH, whole), dpi=200, facecolor=PAPER)
    axes = bare(figure.add_axes((0.0, 0.0, 1.0, 1.0)))
    axes.set(xlim=(0, WIDTH), ylim=(whole, 0))
    draw_head(axes, found)
    scale = Scale.of(found)
    top = head
    for part, height in zip(found.parts, heights, strict=True):
        arrow(axes, FRAME, top - GAP, top)
        draw_box(axes, part, FRAME, top, height)
        draw_cuboids(axes, part.tokens, FRAME, scale, top + height / 2)
        draw_facts(axes, part, found, top + height / 2)
        top += height + GAP
    draw_total(axes, found.parts, whole - foot)
    return figure


def box_height(part: Part) -> float:
    lines = sum(len(lines) for _, lines in lines_of(part, FRAME.letters)) + 1
    return max(STEP * lines + 2 * PAD, 0.5)


def draw_head(axes: Axes, found: Outline) -> None:
    write(axes, 0.1, 0.2, found.model, size=11, weight="bold")
    channels, height, width = found.image
    write(axes, FRAME.middle, 0.34, f"image {channels} {TIMES} {height} {TIMES} {width}", ha="center", weight="bold")
    for column, right in COLUMNS.items():
        write(axes, right, 0.34, column, ha="right", color=FAINT, size=6.5)


def draw_facts(axes: Axes, part: Part, found: Outline, middle: float) -> None:
    tokens = "\n".join(token_words(one) for one in part.tokens)
    write(axes, COLUMNS["tokens"], middle, tokens, ha="right")
    write(axes, COLUMNS["channels"], middle, "\n".join(str(one.channels) for one in part.tokens), ha="right")
    if part.stride is not None and all(len(one.grid) == 2 for one in part.tokens):
        write(axes, COLUMNS["stride"], middle, times_words(part.stride), ha="right")
    for column, number, most in (
        ("parameters", part.params, max(p.params for p in found.parts)),
        ("MACs", part.macs, max(p.macs for p in found.parts)),
    ):
        right = COLUMNS[column]
        write(axes, right, middle - 0.045, short(number), ha="right")
        share = BAR * number / max(most, 1)
        axes.add_patch(Rectangle((right - share, middle + 0.035), share, 0.05, facecolor=ACCENT, linewidth=0))


def draw_total(axes: Axes, parts: list[Part], top: float) -> None:
    axes.plot([FRAME.left + FRAME.width + 0.12, WIDTH - 0.08], [top + 0.06] * 2, color=FAINT, linewidth=0.6)
    total = {
        "stride": "in all",
        "parameters": short(sum(p.params for p in parts)),
        "MACs": short(sum(p.macs for p in parts)),
    }
    for column, words in total.items():
        write(axes, COLUMNS[column], top + 0.17, words, ha="right", weight="bold")
