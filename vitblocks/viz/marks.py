"""What diagrams of stages are drawn of: boxes of layers, cuboids of tokens, words and numbers."""

from __future__ import annotations

from math import sqrt
from textwrap import wrap
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon, Rectangle

from ..grid import Grid
from .drawing import ACCENT, FAINT, INK, PAPER, SECOND
from .outline import TIMES, Group, Outline, Part, Tokens

STEP, PAD, GAP = 0.142, 0.075, 0.17


class Frame(NamedTuple):
    """Where boxes stand, in inches: right of the cuboids; how wide they are, and how many letters a line of them has."""

    left: float
    width: float
    letters: int

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


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


def lines_of(part: Part, letters: int) -> list[tuple[Group, list[str]]]:
    """The lines of text of each group, wrapped to the box."""
    return [
        (
            group,
            [
                line
                for words in group.words
                for line in wrap(words.replace("+ ", "+\N{NO-BREAK SPACE}"), letters, subsequent_indent="    ")
            ],
        )
        for group in part.groups
    ]


def draw_box(axes: Axes, part: Part, frame: Frame, top: float, height: float) -> None:
    axes.add_patch(Rectangle((frame.left, top), frame.width, height, facecolor="#eef2f6", linewidth=0))
    axes.add_patch(Rectangle((frame.left, top), 0.045, height, facecolor=ACCENT, linewidth=0))
    y = top + PAD + STEP / 2
    write(axes, frame.left + 0.12, y, part.name, weight="bold", color=ACCENT)
    for group, lines in lines_of(part, frame.letters):
        first = y + STEP
        for line in lines:
            y += STEP
            write(axes, frame.left + 0.12, y, line, color=SECOND if group.moves else INK)
        if group.times > 1:
            bracket(axes, frame, first - STEP * 0.38, y + STEP * 0.38, f"{TIMES}{group.times}")


def bracket(axes: Axes, frame: Frame, top: float, bottom: float, words: str) -> None:
    x = frame.left + frame.width - 0.3
    axes.plot([x - 0.04, x, x, x - 0.04], [top, top, bottom, bottom], color=ACCENT, linewidth=0.9)
    write(axes, x + 0.05, (top + bottom) / 2, words, weight="bold", color=ACCENT)


def arrow(axes: Axes, frame: Frame, top: float, bottom: float) -> None:
    x = frame.middle
    style = {"arrowstyle": "-|>", "color": FAINT, "linewidth": 0.9, "mutation_scale": 7, "shrinkA": 1, "shrinkB": 0}
    axes.annotate("", (x, bottom), (x, top + 0.01), arrowprops=style)


def draw_cuboids(axes: Axes, tokens: list[Tokens], frame: Frame, scale: Scale, middle: float) -> None:
    """The tokens that a part gives, one cuboid for each tower."""
    for i, one in enumerate(tokens):
        room = (frame.left - 0.1) / len(tokens)
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
