"""``python -m benchmarks.results``: the pictures of docs/benchmarks.md and its table of means, from the tables in docs/results.

Nothing is measured: the tables hold what was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .compare_report import LIBRARIES, SLOWER
from .tables import markdown

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "benchmarks.md"
RATIO = re.compile(r"([\d.]+) \(([\d.]+)-([\d.]+)\)")
"""A median and its quartiles."""

Ratio = tuple[float, float, float]
Column = dict[str, Ratio]

CPU = {
    "one thread, inference": ("model / peer", "inference"),
    "one thread, training": ("model / peer", "training"),
    "two threads, inference": ("two threads", "inference"),
    "two threads, training": ("two threads", "training"),
    "one thread, inference, 1 image": ("one image", "one thread"),
    "two threads, inference, 1 image": ("one image", "two threads"),
}
"""Columns of docs/results/cpu.md: the head of their table's first column, and their own. With 8 images, if nothing else is said."""
DRAWN = list(CPU)[:4]

GPU = {
    "as they stand": ("inference, 64 images, eager", "inference, 1 image, eager", "training, 64 images, eager"),
    "with the passes, both sides": ("inference, 64 images, passes", "inference, 1 image, passes"),
}
"""Tables of docs/results/gpu.md by their headings, a panel for each row."""

COLOURS = ("#1f5fa8", "#d9822b", "#3d8f5f", "#8a4fa3")


def tables(page: Path) -> list[tuple[str, list[str], list[list[str]]]]:
    """All tables of a page: the heading above, the heads and the rows."""
    found: list[tuple[str, list[str], list[list[str]]]] = []
    heading, inside = "", False
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif not inside:
            found.append((heading, cells, []))
            inside = True
        elif not set("".join(cells)) <= set("-: "):
            found[-1][2].append(cells)
    return found


def column(heads: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> Column:
    """The ratios below one head by model, without those that were not measured."""
    at = heads.index(name)
    read = ((row[0], RATIO.fullmatch(row[at])) for row in rows)
    return {model: (float(m[1]), float(m[2]), float(m[3])) for model, m in read if m}


def cpu() -> dict[str, Column]:
    """By the names of :data:`CPU`."""
    found = {heads[0]: (heads, rows) for _, heads, rows in tables(DOCS / "results" / "cpu.md")}
    return {setting: column(*found[table], head) for setting, (table, head) in CPU.items()}


def gpu() -> dict[str, Column]:
    """By the headings of the page, without ``GPU:``."""
    found = tables(DOCS / "results" / "gpu.md")
    return {
        heading.removeprefix("GPU: "): column(heads, rows, "ours / timm")
        for heading, heads, rows in found
        if heading.startswith("GPU: ")
    }


def means() -> str:
    """A line for each setting: how many architectures, their geometric mean, how many are below, and the least and the most."""
    settings = {f"CPU, {name}": best(found) for name, found in cpu().items()}
    settings |= {f"GPU, {name}": {model: one[0] for model, one in found.items()} for name, found in gpu().items()}
    lines = [["others / ours, time", "models", "mean", f"below {SLOWER}", "least", "most"]]
    for name, ratios in settings.items():
        least, most = (kind(ratios, key=lambda model: ratios[model]) for kind in (min, max))
        behind = sum(ratio < SLOWER for ratio in ratios.values())
        ends = (f"{ratios[model]:.2f} {model}" for model in (least, most))
        lines.append([name, str(len(ratios)), f"{geometric_mean(ratios.values()):.2f}", str(behind), *ends])
    return markdown(lines)


def best(found: Column) -> dict[str, float]:
    """For each architecture the ratio to the peer that does best against ours."""
    least: dict[str, float] = {}
    for peer, (ratio, _, _) in found.items():
        model = next(peer.partition(f" / {library}")[0] for library in LIBRARIES if f" / {library}" in peer)
        least[model] = min(ratio, least.get(model, ratio))
    return least


def draw(axes: Axes, columns: Mapping[str, Column], what: str) -> None:
    """A row for each model, a mark and its quartiles for each setting; to the right of 1 ours is the faster one."""
    models = list(dict.fromkeys(model for found in columns.values() for model in found))[::-1]
    axes.axvline(1, color="black", linewidth=0.8)
    for i, (label, found) in enumerate(columns.items()):
        shift = 0.6 * (0.5 - (i + 0.5) / len(columns))
        y = [models.index(model) + shift for model in found]
        middle, low, high = zip(*found.values(), strict=True)
        axes.hlines(y, low, high, color=COLOURS[i], linewidth=1.2)
        axes.plot(middle, y, "osD^"[i], color=COLOURS[i], markersize=4, label=label)
    axes.set(xscale="log", xlabel=what, ylim=(-0.6, len(models) - 0.4))
    axes.set_xlim(axes.get_xlim())
    left, right = axes.get_xlim()
    ticks = [tick for tick in (0.4, 0.6, 0.8, 1, 1.5, 2, 3) if left < tick < right]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(models)), models)
    axes.grid(axis="x", alpha=0.3)
    axes.hlines([i + 0.5 for i in range(len(models) - 1)], left, right, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.25, 1.0), ncols=2, frameon=False, fontsize=8)


def picture_of_cpu() -> Figure:
    figure = Figure(figsize=(4.6, 9.2), layout="constrained")
    found = cpu()
    draw(figure.add_subplot(), {name: found[name] for name in DRAWN}, "their time / ours")
    return figure


def picture_of_gpu() -> Figure:
    figure = Figure(figsize=(4.6, 8.4), layout="constrained")
    found = gpu()
    for axes, (panel, settings) in zip(figure.subplots(len(GPU), 1), GPU.items(), strict=True):
        draw(axes, {name: found[name] for name in settings}, f"timm's time / ours,\n{panel}")
    return figure


def main() -> None:
    for name, figure in (("cpu", picture_of_cpu()), ("gpu", picture_of_gpu())):
        path = DOCS / "images" / f"results_{name}.png"
        figure.savefig(path, dpi=130)
        print(path)
    text = PAGE.read_text()
    PAGE.write_text(re.sub(r"(?<=<!-- means -->\n).*(?=\n<!-- /means -->)", lambda _: means(), text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
