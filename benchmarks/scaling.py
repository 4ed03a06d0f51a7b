"""``python -m benchmarks.scaling``: time and peak memory of each attention kind from 196 to 16,384 tokens.

One image, a forward pass in inference mode, float32. Time is the median over rounds of the fastest call. Memory is the most that
the call asks of PyTorch's allocator beyond its input and weights (see :mod:`benchmarks.memory`). The exponents are the slopes of
straight lines through the logarithms, from 2,304 tokens on. A kind is left out at a size where a quadratic cost, foretold from the size
before, would be above the limits.

A table is printed, and written to the folder of ``--output`` as ``scaling.md``, with ``scaling.json`` and ``scaling.png``.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vitblocks.grid import Grid

from .command import options_of, parser, ran_on
from .kinds import DIM, HEADS, KINDS, Kind
from .memory import peak_bytes, pin_allocator
from .pairing import Work, seconds_of
from .swap import machine
from .tables import markdown

SIDES = (14, 24, 32, 48, 64, 96, 128)
QUICK_SIDES = (14, 16, 24)
COLOURS = {"matrix": "#9a3412", "fused": "#c2850c", "fewer keys": "#0b6e99", "windows": "#3f7d20", "linear": "#7c3aed"}


@dataclass(frozen=True)
class Settings:
    """What is measured, and the limits above which it is not."""

    sides: tuple[int, ...] = SIDES
    fitted_from: int = 2304
    rounds: int = 3
    least_seconds: float = 0.2
    least_calls: int = 3
    once_from: float = 0.5
    """Seconds of a call from which on a single round has to do."""
    seconds_limit: float = 60.0
    bytes_limit: float = 8e9
    device: str = "cpu"


@dataclass
class Point:
    """One kind at one size: patches, peak bytes, and of each round the seconds of its fastest call."""

    tokens: int
    bytes: int
    rounds: list[float]

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)


@dataclass
class Curve:
    """One kind at all sizes that it was measured at, and the slopes."""

    kind: str
    family: str
    points: list[Point] = field(default_factory=list)
    time_exponent: float | None = None
    memory_exponent: float | None = None

    def at(self, tokens: int) -> Point | None:
        return next((point for point in self.points if point.tokens == tokens), None)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """The slope of the least-squares line through the logarithms; None for fewer than two sizes."""
    if len(sizes) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def timed(work: Work, settings: Settings) -> float:
    """The fastest of the calls that fill ``least_seconds``, of ``least_calls`` at least. Nothing is warmed up here.

    What disturbs a call only adds to it; that a large process gets pages anew may take longer than the call.
    """
    device = torch.device(settings.device)
    times: list[float] = []
    while len(times) < settings.least_calls or sum(times) < settings.least_seconds:
        times.append(seconds_of(work, 1, device))
    return min(times)


def work_of(kind: Kind, side: int, settings: Settings) -> Work:
    """A forward pass of one kind on a square grid, warmed up."""
    torch.manual_seed(0)
    grid: Grid = (side, side)
    layer = kind.make().eval().to(settings.device)
    x = kind.tokens(grid).to(settings.device)

    def work() -> object:
        return layer(x, grid)

    work()
    return work


def measure(kind: Kind, side: int, settings: Settings) -> Point:
    """One kind on a square grid, for the first time."""
    work = work_of(kind, side, settings)
    most = peak_bytes(work, torch.device(settings.device))
    return Point(side * side, most, [timed(work, settings)])


def too_much(last: Point, tokens: int, settings: Settings) -> bool:
    """Whether a cost that grows with the square of the tokens would be above a limit."""
    growth = (tokens / last.tokens) ** 2
    return last.seconds * growth > settings.seconds_limit or last.bytes * growth > settings.bytes_limit


@torch.inference_mode()
def curve(name: str, settings: Settings) -> Curve:
    """One kind at all sizes within the limits."""
    made = Curve(name, KINDS[name].family)
    for side in settings.sides:
        if made.points and too_much(made.points[-1], side * side, settings):
            break
        made.points.append(measure(KINDS[name], side, settings))
    return made


@torch.inference_mode()
def time_again(made: Curve, settings: Settings) -> None:
    """Another round for the sizes that do not take long: what else the machine does may last as long as a round."""
    for point in made.points:
        if point.seconds < settings.once_from:
            point.rounds.append(timed(work_of(KINDS[made.kind], math.isqrt(point.tokens), settings), settings))


def fit(made: Curve, settings: Settings) -> None:
    """The exponents."""
    fitted = [point for point in made.points if point.tokens >= settings.fitted_from]
    sizes = [point.tokens for point in fitted]
    made.time_exponent = exponent(sizes, [point.seconds for point in fitted])
    made.memory_exponent = exponent(sizes, [point.bytes for point in fitted])


def shown_tokens(settings: Settings) -> list[int]:
    """The sizes that the table shows: the first, one in the middle, and the last."""
    sizes = [side * side for side in settings.sides]
    return [sizes[0], sizes[len(sizes) // 2], sizes[-1]]


def table(curves: Sequence[Curve], settings: Settings) -> str:
    """The curves as a markdown table: some sizes, and the exponents."""
    shown = shown_tokens(settings)
    head = ["attention"]
    head += [f"ms at {tokens:,}" for tokens in shown] + ["exponent of time"]
    head += [f"MB at {tokens:,}" for tokens in shown] + ["exponent of memory"]
    lines = [head]
    for made in curves:
        points = [made.at(tokens) for tokens in shown]
        slopes = [
            "left out" if slope is None else f"{slope:.2f}" for slope in (made.time_exponent, made.memory_exponent)
        ]
        times = ["left out" if point is None else f"{1e3 * point.seconds:,.3g}" for point in points]
        sizes = ["left out" if point is None else f"{point.bytes / 1e6:,.3g}" for point in points]
        lines.append([made.kind, *times, slopes[0], *sizes, slopes[1]])
    return markdown(lines)


def spread(heights: Sequence[float], least: float) -> list[float]:
    """Heights of labels, moved so that no two are nearer than ``least``, and none further than that takes: in the order given.

    Neighbours that are too near become a group, evenly spaced around their mean; groups that meet become one.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[tuple[float, list[int]]] = []
    for i in order:
        middle, members = heights[i], [i]
        while groups and middle - groups[-1][0] < least * (len(members) + len(groups[-1][1])) / 2:
            members = groups.pop()[1] + members
            middle = statistics.fmean(heights[j] for j in members)
        groups.append((middle, members))
    placed = [0.0] * len(heights)
    for middle, members in groups:
        for place, i in enumerate(members):
            placed[i] = middle + least * (place - (len(members) - 1) / 2)
    return placed


def panel(
    axes: Axes, curves: Sequence[Curve], costs: Sequence[Sequence[float]], slopes: Sequence[float | None]
) -> None:
    """A line for each kind, and its name and exponent at the right."""
    heights = spread([math.log10(cost[-1]) for cost in costs], 0.042 * _decades(costs))
    for made, cost, slope, height in zip(curves, costs, slopes, heights, strict=True):
        colour = COLOURS[made.family]
        sizes = [point.tokens for point in made.points]
        axes.plot(sizes, cost, color=colour, linewidth=1.4, marker="o", markersize=3)
        words = made.kind if slope is None else f"{made.kind}  {slope:.2f}"
        axes.annotate(
            words,
            (sizes[-1], cost[-1]),
            xytext=(1.12 * curves_end(curves), 10**height),
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.5,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0, 0.5),
            },
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tokens")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.set_axisbelow(True)


def curves_end(curves: Sequence[Curve]) -> int:
    return max(made.points[-1].tokens for made in curves)


def _decades(costs: Sequence[Sequence[float]]) -> float:
    """How many powers of ten the costs span."""
    flat = [cost for line in costs for cost in line]
    return max(math.log10(max(flat) / min(flat)), 0.1)


def plot(curves: Sequence[Curve], settings: Settings, path: Path) -> None:
    """Time and memory against tokens, both axes logarithmic."""
    figure = Figure(figsize=(12.5, 6.8))
    left, right = figure.add_axes((0.05, 0.09, 0.28, 0.78)), figure.add_axes((0.55, 0.09, 0.28, 0.78))
    panel(left, curves, [[1e3 * p.seconds for p in c.points] for c in curves], [c.time_exponent for c in curves])
    panel(right, curves, [[p.bytes / 1e6 for p in c.points] for c in curves], [c.memory_exponent for c in curves])
    left.set_title("milliseconds of a forward pass", loc="left", fontsize=10)
    right.set_title("MB at the peak, beyond input and weights", loc="left", fontsize=10)
    figure.text(0.02, 0.955, "What attention costs as images grow", fontsize=13, weight="bold")
    words = (
        f"One image, {DIM} channels, {HEADS} heads, float32. Beside each name the exponent fitted "
        f"from {settings.fitted_from:,} tokens on."
    )
    figure.text(0.02, 0.925, words, fontsize=9)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110)
    # A fraction of the size: lines and letters need few colours.
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)


def run(settings: Settings, names: Sequence[str]) -> list[Curve]:
    """All curves, a round over all of them at a time."""
    curves: list[Curve] = []
    for name in names:
        curves.append(curve(name, settings))
        last = curves[-1].points[-1]
        print(f"{name}: {last.tokens:,} tokens {last.seconds * 1e3:.1f} ms, {last.bytes / 1e6:.1f} MB", flush=True)
    for done in range(1, settings.rounds):
        for made in curves:
            time_again(made, settings)
        print(f"{done + 1} rounds", flush=True)
    for made in curves:
        fit(made, settings)
    return curves


def asked(arguments: Sequence[str] | None) -> tuple[Settings, list[str], Path]:
    made = parser("scaling", "The cost of attention kinds.", "up to 576 tokens, a call each")
    made.add_argument("--only", nargs="+", choices=KINDS, metavar="KIND", help="some of the kinds")
    options = options_of(made, arguments)
    settings = Settings(device=options.device)
    if options.quick:
        settings = Settings(
            QUICK_SIDES, fitted_from=256, rounds=1, least_seconds=0.0, least_calls=1, device=options.device
        )
    return settings, options.only or list(KINDS), options.output


def main(arguments: Sequence[str] | None = None) -> None:
    settings, names, folder = asked(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    curves = run(settings, names)
    seconds = round(time.perf_counter() - start)
    where = machine()
    results = {
        "machine": where,
        "seconds": seconds,
        "settings": asdict(settings),
        "curves": [asdict(made) for made in curves],
    }
    words = f"{ran_on(where, settings.device)}; {DIM} channels, {HEADS} heads, one image, float32; {seconds} s in all."
    report = f"{table(curves, settings)}\n\n{words}\n"
    (folder / "scaling.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "scaling.md").write_text(report)
    plot(curves, settings, folder / "scaling.png")
    print(f"{report}written to {folder}: scaling.md, scaling.json, scaling.png")


if __name__ == "__main__":
    pin_allocator("benchmarks.scaling")
    main()
