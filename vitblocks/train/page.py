"""A page to look at when training is over: the curve, what was taken for what, and the worst mistakes."""

from __future__ import annotations

import base64
import json
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..inspect.overview import attention_overview
from .evaluating import Evaluation
from .keeping import RECIPE
from .result import Result

WORST = 10
MOST_CLASSES = 40

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1f2933}
h1{font-size:1.5rem} h2{font-size:1.15rem;margin-top:2rem} table{border-collapse:collapse;font-size:.85rem}
td,th{padding:.15rem .5rem;text-align:right} th{font-weight:600} .grid td{min-width:1.6rem;text-align:center}
figure{display:inline-block;margin:.4rem;text-align:center;font-size:.8rem} img{max-width:100%}"""


def write_page(result: Result) -> Path:
    """Write ``report.html`` into the folder of a run. Without matplotlib it has numbers alone, and says so.

    Raises:
        OSError: it cannot be written.
    """
    recipe = json.loads((result.folder / RECIPE).read_text(encoding="utf-8"))
    parts = [_head(result, recipe), _curve(result.metrics())]
    if result.evaluation is not None:
        parts.append(_confusion(result.evaluation))
        parts.append(_mistakes(result))
    if result.broken:
        parts.append(
            f"<h2>Images that could not be read</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in result.broken)}</ul>"
        )
    parts.append(f"<h2>Recipe</h2><pre>{escape(json.dumps(recipe, indent=2))}</pre>")
    title = f"<title>{escape(result.folder.name)}</title><style>{STYLE}</style>"
    text = f"<!doctype html><html lang='en'><meta charset='utf-8'>{title}{''.join(parts)}</html>"
    path = result.folder / "report.html"
    write_whole(path, [text.encode()])
    return path


def _head(result: Result, recipe: dict[str, Any]) -> str:
    told = "" if result.accuracy is None else f", held-out accuracy <b>{result.accuracy:.2%}</b>"
    speed = result.steps * recipe["batch"] / max(result.seconds, 1e-9)
    return (
        f"<h1>{escape(result.folder.name)}</h1><p>{escape(recipe['objective'])}{told}; {result.steps:,} steps of {recipe['batch']} images "
        f"in {result.seconds:,.0f} s, {speed:,.0f} images a second.</p>"
    )


def _curve(records: list[dict[str, Any]]) -> str:
    try:
        from matplotlib.figure import Figure

        from ..viz.drawing import ACCENT, SECOND
    except ImportError:
        return "<p>The curve needs matplotlib: pip install 'vitblocks[viz]'.</p>"
    figure = Figure(figsize=(9.6, 3.4))
    axes: Any = figure.subplots(1, 2)
    steps, losses = [r["step"] for r in records], [r["loss"] for r in records]
    axes[0].plot(steps, losses, color=ACCENT, alpha=0.3, linewidth=0.8)
    axes[0].plot(steps, smoothed(losses), color=ACCENT, label="training")
    epochs = [r for r in records if "held_out_loss" in r]
    if epochs:
        axes[0].plot([r["step"] for r in epochs], [r["held_out_loss"] for r in epochs], color=SECOND, label="held out")
        axes[0].legend(frameon=False)
    axes[0].set_title("loss", loc="left")
    told = [r for r in epochs if "held_out_accuracy" in r]
    if told:
        axes[1].plot([r["step"] for r in told], [100 * r["held_out_accuracy"] for r in told], color=SECOND)
        axes[1].set_title("held-out accuracy, %", loc="left")
    else:
        axes[1].plot(steps, [r["lr"] for r in records], color=ACCENT)
        axes[1].set_title("learning rate", loc="left")
    for one in axes:
        one.set_xlabel("step")
        one.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return f"<h2>How it went</h2>{_picture(figure)}"


def smoothed(values: list[float], over: float = 0.95) -> list[float]:
    """A running mean that forgets."""
    found: list[float] = []
    for value in values:
        found.append(value if not found else over * found[-1] + (1 - over) * value)
    return found


def _picture(figure: Any, words: str = "") -> str:
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return f"<img alt='{escape(words)}' src='data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}'>"


def _confusion(found: Evaluation) -> str:
    """The table of classes by what they were told to be; of many classes only the pairs that were confused most."""
    counts, names = found.confusion, found.classes
    if len(names) > MOST_CLASSES:
        wrong = counts.clone().fill_diagonal_(0)
        most = wrong.flatten().argsort(descending=True)[:20].tolist()
        rows = [(names[k // len(names)], names[k % len(names)], int(wrong.flatten()[k])) for k in most]
        body = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td>{n}</td></tr>" for a, b, n in rows if n)
        return f"<h2>What was taken for what</h2><table><tr><th>is</th><th>told</th><th>images</th></tr>{body}</table>"
    largest = max(int(counts.max()), 1)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows_of = []
    for k, name in enumerate(names):
        cells = "".join(_cell(int(n), largest, j == k) for j, n in enumerate(counts[k]))
        rows_of.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f"<h2>What was taken for what</h2><table class='grid'><tr><th>is \\ told</th>{head}</tr>{''.join(rows_of)}</table>"


def _cell(count: int, largest: int, right: bool) -> str:
    colour = "46,125,50" if right else "198,40,40"
    shade = 0.0 if count == 0 else 0.15 + 0.6 * count / largest
    return f"<td style='background:rgba({colour},{shade:.2f})'>{count or ''}</td>"


def _mistakes(result: Result) -> str:
    found = result.evaluation
    assert found is not None
    rows = found.worst(WORST)
    if not rows:
        return "<h2>Worst mistakes</h2><p>There are none.</p>"
    try:
        from ..viz import overlay
    except ImportError:
        return "<h2>Worst mistakes</h2><p>Their pictures need matplotlib: pip install 'vitblocks[viz]'.</p>"
    figures = []
    for row in rows:
        place, label, told = int(found.places[row]), int(found.labels[row]), int(found.told[row])
        image = result.image(place)
        words = f"is {found.classes[label]}, told {found.classes[told]} ({float(found.sure[row]):.0%})"
        figure = overlay(image[None], looked_at(result.model, image), columns=["reads"])
        figures.append(
            f"<figure>{_picture(figure, words)}<figcaption>{escape(words)}<br>{escape(result.name(place))}</figcaption></figure>"
        )
    return f"<h2>Worst mistakes</h2><p>Told wrong with the largest loss, and how much the model reads from where.</p>{''.join(figures)}"


def looked_at(model: nn.Module, image: Tensor) -> Tensor:
    """Where the model looks, nowhere if that cannot be told."""
    try:
        return attention_overview(model, image[None].to(next(model.parameters()).device)).cpu()
    except ValueError:
        return torch.zeros(1, 1, 1)
