"""The diagram of a model for a narrow page: boxes of layers one below the other, and what each gives and costs in its foot."""

from __future__ import annotations

from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import FAINT, PAPER, bare
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
from .outline import TIMES, Outline, Part

LEFT, RIGHT = 0.78, 0.06
LETTERS = 14.8  # in an inch, beside the bracket of what repeats
HEAD, FOOT = 0.62, 0.3


def draw_column(found: Outline, width: float) -> Figure:
    """The diagram of what :func:`~vitblocks.viz.outline.outline` found, ``width`` inches wide."""
    room = width - LEFT - RIGHT
    frame = Frame(LEFT, room, letters=int(LETTERS * room))
    feet = [facts(part, frame.letters) for part in found.parts]
    heights = [
        STEP * (sum(len(lines) for _, lines in lines_of(part, frame.letters)) + 1 + len(foot)) + 2 * PAD
        for part, foot in zip(found.parts, feet, strict=True)
    ]
    whole = HEAD + sum(heights) + GAP * (len(heights) - 1) + FOOT
    figure = Figure(figsize=(width, whole), dpi=200, facecolor=PAPER)
    axes = bare(figure.add_axes((0.0, 0.0, 1.0, 1.0)))
    axes.set(xlim=(0, width), ylim=(whole, 0))
    write(axes, 0.08, 0.16, found.model, size=10, weight="bold")
    image = f"image {f' {TIMES} '.join(map(str, found.image))}"
    write(axes, frame.middle, 0.38, image, ha="center", weight="bold")
    scale, top = Scale.of(found), HEAD
    for part, foot, height in zip(found.parts, feet, heights, strict=True):
        arrow(axes, frame, top - GAP, top)
        draw_box(axes, part, frame, top, height)
        draw_cuboids(axes, part.tokens, frame, scale, top + height / 2)
        draw_foot(axes, foot, frame, top + height - PAD)
        top += height + GAP
    params, macs = (short(sum(getattr(part, name) for part in found.parts)) for name in ("params", "macs"))
    write(axes, frame.left + 0.12, whole - FOOT / 2, f"in all {params} parameters, {macs} MACs", weight="bold")
    return figure


def draw_foot(axes: Axes, lines: list[str], frame: Frame, bottom: float) -> None:
    for i, words in enumerate(lines):
        write(axes, frame.left + 0.12, bottom - STEP * (len(lines) - i - 0.5), words, color=FAINT)


def facts(part: Part, letters: int) -> list[str]:
    """Tokens, channels and stride; then parameters and multiply-adds. One line for each of several towers."""
    lines = [f"{token_words(one)} tokens, {one.channels} channels" for one in part.tokens]
    if lines and part.stride is not None and all(len(one.grid) == 2 for one in part.tokens):
        lines[-1] += f", stride {times_words(part.stride)}"
    lines.append(f"{short(part.params)} parameters, {short(part.macs)} MACs")
    return [line for words in lines for line in wrap(words, letters)]
