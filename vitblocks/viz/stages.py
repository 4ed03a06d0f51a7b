"""A diagram of a model: what each stage is made of, what it gives, what it costs."""

from __future__ import annotations

from math import sqrt
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import nn

from ..grid import Grid, Size
from .drawing import ACCENT, FAINT, INK, PAPER, SECOND, bare
from .outline import TIMES, Group, Outline, Part, Tokens, outline

WIDTH = 7.2  # inches, as all that follows
STEP, PAD, GAP = 0.142, 0.075, 0.17
CUBOID, BOX = 0.95, 3.4  # the widths of the drawing of the tokens and of the box of layers
LETTERS = 56
COLUMNS = {"tokens": 4.98, "channels": 5.5, "stride": 5.84, "parameters": 6.5, "MACs": 7.1}  # right edges
BAR = 0.48


def stage_diagram(model: nn.Module, image_size: Size | None = None) -> Figure:
    """A model from the image down: embedder, stages, head.

    Each has a box of its layers (transitions, which may change the grid, in orange; ``×n`` for layers that repeat); left of it the tokens
    it gives as a cuboid, high and wide as their grid and deep as their channels; right of it their number (prefix tokens after a plus),
    channels, stride in pixels, parameters and multiply-adds for one image. A cuboid with dashed edges stands for tokens that lie on no
    grid any more: adaptive sampling, at the most that it keeps. Nothing is computed: the model runs on the meta device.

    Args:
        model: a :class:`~vitblocks.Model` or :class:`~vitblocks.CrossViT`.
        image_size: an int or a (height, width); if None the size that the model was made for, 224 where it names none.

    Raises:
        TypeError: another model.
        ValueError: what the model raises for that size.
    """
    return draw_outline(outline(model, image_size))


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
        arrow(axes, top - GAP, top)
        draw_box(axes, part, top, height)
        draw_cuboids(axes, part.tokens, scale, top + height / 2)
        draw_facts(axes, part, found, top + height / 2)
        top += height + GAP
    draw_total(axes, found.parts, whole - foot)
    return figure


class Scale:
    """Inches for a place of the grid, and for a channel."""

    def __init__(self, side: int, channels: int) -> None:
        self.place, self.channel = 0.48 / side, 0.3 / channels

    @classmethod
    def of(cls, found: Outline) -> Scale:
        """So that the largest grid and the most channels fill the room there is."""
        tokens = [one for part in found.parts for one in part.tokens]
        return cls(
            max((round(side) for one in tokens for side in face(one.grid)), default=1),
            max((one.channels for one in tokens), default=1),
        )


def lines_of(part: Part) -> list[tuple[Group, list[str]]]:
    """The lines of text of each group, wrapped to the box."""
    return [
        (
            group,
            [
                line
                for words in group.words
                for line in wrap(words.replace("+ ", "+\N{NO-BREAK SPACE}"), LETTERS, subsequent_indent="    ")
            ],
        )
        for group in part.groups
    ]


def box_height(part: Part) -> float:
    lines = sum(len(lines) for _, lines in lines_of(part)) + 1
    return max(STEP * lines + 2 * PAD, 0.5)


def draw_head(axes: Axes, found: Outline) -> None:
    write(axes, 0.1, 0.2, found.model, size=11, weight="bold")
    channels, height, width = found.image
    write(
        axes, CUBOID + BOX / 2, 0.34, f"image {channels} {TIMES} {height} {TIMES} {width}", ha="center", weight="bold"
    )
    for column, right in COLUMNS.items():
        write(axes, right, 0.34, column, ha="right", color=FAINT, size=6.5)


def draw_box(axes: Axes, part: Part, top: float, height: float) -> None:
    axes.add_patch(Rectangle((CUBOID, top), BOX, height, facecolor="#eef2f6", linewidth=0))
    axes.add_patch(Rectangle((CUBOID, top), 0.045, height, facecolor=ACCENT, linewidth=0))
    y = top + PAD + STEP / 2
    write(axes, CUBOID + 0.12, y, part.name, weight="bold", color=ACCENT)
    for group, lines in lines_of(part):
        first = y + STEP
        for line in lines:
            y += STEP
            write(axes, CUBOID + 0.12, y, line, color=SECOND if group.moves else INK)
        if group.times > 1:
            bracket(axes, first - STEP * 0.38, y + STEP * 0.38, f"{TIMES}{group.times}")


def bracket(axes: Axes, top: float, bottom: float, words: str) -> None:
    x = CUBOID + BOX - 0.3
    axes.plot([x - 0.04, x, x, x - 0.04], [top, top, bottom, bottom], color=ACCENT, linewidth=0.9)
    write(axes, x + 0.05, (top + bottom) / 2, words, weight="bold", color=ACCENT)


def arrow(axes: Axes, top: float, bottom: float) -> None:
    x = CUBOID + BOX / 2
    style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.9, "mutation_scale": 7, "shrinkA": 1, "shrinkB": 0}
    axes.annotate("", (x, bottom), (x, top + 0.01), arrowprops=style)


def draw_cuboids(axes: Axes, tokens: list[Tokens], scale: Scale, middle: float) -> None:
    """The tokens that a part gives, one cuboid for each tower."""
    for i, one in enumerate(tokens):
        room = (CUBOID - 0.1) / len(tokens)
        shrink = 1 / len(tokens)
        height, width = (side * scale.place * shrink for side in face(one.grid))
        cuboid(
            axes,
            0.06 + room * (i + 0.5),
            middle,
            (height, width),
            one.channels * scale.channel * shrink,
            dashed=len(one.grid) != 2,
        )


def cuboid(axes: Axes, x: float, y: float, size: tuple[float, float], depth: float, *, dashed: bool) -> None:
    """A cuboid around (x, y), seen from the upper right."""
    height, width = size
    dx, dy = 0.8 * depth, 0.5 * depth
    left, top = x - (width + dx) / 2, y - (height - dy) / 2
    right, bottom, base = left + width, top + height, to_rgb(ACCENT)
    faces = {
        0.45: [(left, top), (right, top), (right, bottom), (left, bottom)],
        0.7: [(left, top), (left + dx, top - dy), (right + dx, top - dy), (right, top)],
        0.2: [(right, top), (right + dx, top - dy), (right + dx, bottom - dy), (right, bottom)],
    }
    for light, corners in faces.items():
        colour = tuple(c + (1 - c) * light for c in base)
        line: dict[str, Any] = {"edgecolor": PAPER, "linewidth": 0.5}
        if dashed:
            line |= {"edgecolor": INK, "linestyle": (0, (2, 1.5))}
        axes.add_patch(Polygon(corners, facecolor=colour, **line))


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
    axes.plot([CUBOID + BOX + 0.12, WIDTH - 0.08], [top + 0.06] * 2, color=FAINT, linewidth=0.6)
    total = {
        "stride": "in all",
        "parameters": short(sum(p.params for p in parts)),
        "MACs": short(sum(p.macs for p in parts)),
    }
    for column, words in total.items():
        write(axes, COLUMNS[column], top + 0.17, words, ha="right", weight="bold")


def token_words(tokens: Tokens) -> str:
    """``14×14 + 1`` for a grid and a prefix token, ``≤ 97 + 1`` where patches were dropped."""
    grid = f"≤ {tokens.grid[0]}" if len(tokens.grid) == 1 else f"{tokens.grid[0]}{TIMES}{tokens.grid[1]}"
    return f"{grid} + {tokens.prefix}" if tokens.prefix else grid


def times_words(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}{TIMES}{pair[1]}"


def face(grid: Grid) -> tuple[float, float]:
    """The sides of a cuboid's face: the grid, or a square of as many places."""
    return (float(grid[0]), float(grid[1])) if len(grid) == 2 else (sqrt(grid[0]), sqrt(grid[0]))


def short(number: int) -> str:
    """Three figures: ``5.72 M``."""
    for unit, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return str(number)


def write(axes: Axes, x: float, y: float, words: str, size: float = 7.2, color: str = INK, **style: Any) -> None:
    axes.text(x, y, words, fontsize=size, va="center", color=color, **style)
