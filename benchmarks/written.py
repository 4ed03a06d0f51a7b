"""``python -m benchmarks.written``: the picture of docs/recipe.md, a CaiT written out as a file, beside what one reads of it first."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from textwrap import dedent

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitblocks import create_model, to_source

SHADES = {"others": "#9aa5b1", "CaiT": "#1f6f8b", "build_model": "#c8553d"}


def spans(source: str) -> dict[str, tuple[int, int]]:
    """The first and last line of every class and function."""
    found = [node for node in ast.parse(source).body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    return {node.name: (node.lineno, node.end_lineno or node.lineno) for node in found}


def draw_lines(axes: Axes, source: str) -> None:
    """Every line as a bar, indented and as long as it is, in four columns from the top; longer classes by name."""
    lines, columns = source.splitlines(), 4
    rows = -(-len(lines) // columns)
    found = spans(source)
    for name, shade in SHADES.items():
        first, last = found.get(name, (1, len(lines)))
        for i in range(first - 1, last):
            bare = lines[i].strip()
            if bare:
                left = (i // rows) * 145 + len(lines[i]) - len(lines[i].lstrip())
                axes.barh(i % rows, len(bare), left=left, height=0.8, color=shade)
    for name, (first, last) in found.items():
        if last - first > 17 or name == "build_model":
            place = ((first - 1) // rows * 135 + 2, (first - 1) % rows - 1.2)
            axes.text(*place, name, fontsize=6, color=SHADES.get(name, "black"))
    axes.set_ylim(rows + 1, -3)
    axes.set_title(f"all {len(lines):,} lines: {len(found)} classes and functions", fontsize=9, loc="left")
    axes.axis("off")


def draw_text(axes: Axes, source: str) -> None:
    """What the class composes, and the call that makes the model."""
    lines = source.splitlines()
    texts = []
    for name in ("CaiT", "build_model"):
        first, last = spans(source)[name]
        texts.append("\n".join(lines[first - 1 : last]))
    axes.text(
        0, 1, "\n\n".join(map(dedent, texts)), fontsize=5.4, family="monospace", va="top", transform=axes.transAxes
    )
    axes.set_title("its last two", fontsize=9, loc="left")
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cait_xxs24_224")
    parser.add_argument("--out", type=Path, default=Path("docs/images/written.png"))
    options = parser.parse_args()
    with torch.device("meta"):
        source = to_source(create_model(options.model))
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    draw_lines(left, source)
    draw_text(right, source)
    figure.savefig(options.out, dpi=110)
    print(f"{options.model}: {len(source.splitlines())} lines, written to {options.out}")


if __name__ == "__main__":
    main()
