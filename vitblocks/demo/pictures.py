"""The demo's pictures, drawn with matplotlib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from ..checkpoint.files import write_whole
from ..model import Model
from ..viz.drawing import (
    ACCENT,
    HEAT,
    INK,
    PAPER,
    SECOND,
    bare,
    extent,
    frame_reach,
    mark_patch,
    row_label,
    title,
)
from .layers import HEADINGS, Row
from .learning import SIDE, Epoch, Labelled, predict
from .looking import look

DOTS: dict[str, Any] = {"marker": "o", "markersize": 3.5}


def save(figure: Figure, path: Path) -> None:
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=120, facecolor=PAPER)
    write_whole(path, [picture.getvalue()])


def one_of_each(data: Labelled) -> Labelled:
    """The first image of every digit."""
    first = [int((data.labels == digit).nonzero()[0]) for digit in range(10)]
    return Labelled(data.images[first], data.labels[first])


def attention_picture(model: Model, held_out: Labelled, path: Path) -> None:
    """From the answer back to the pixels: what the pool read, where its first choice had looked, and where that one had."""
    data = one_of_each(held_out)
    shares, patches, seen = look(model, data.images)
    kinds = [spoken(block.get_submodule("attn")) for _, block in model.blocks()]
    labels = [f"block {depth}\n{kind}" for depth, kind in enumerate(kinds, start=1)]
    rows = [("sequence\npool", shares), *zip(reversed(labels), reversed(seen), strict=True)]
    chances, told = predict(model, data.images).softmax(dim=1).max(dim=1)

    header, height = 0.95, 1.0 * (len(rows) + 1) + 1.0
    figure = Figure(figsize=(11.0, height))
    axes = figure.subplots(len(rows) + 1, 10)
    figure.subplots_adjust(
        left=0.108, right=0.99, bottom=0.05 / height, top=1 - header / height, wspace=0.06, hspace=0.06
    )
    title(
        figure,
        "Where the hybrid looks, from the answer back to the pixels",
        "Held-out digits. Blue square: the patch that the pool reads most; the blocks show where it looks, the mean of "
        "their heads. Each map is scaled to its own largest.",
    )
    row_label(axes[0, 0], "digit,\nanswer")
    for i in range(10):
        bare(axes[0, i]).imshow(data.images[i, 0], cmap="gray_r", interpolation="nearest")
        right = told[i] == data.labels[i]
        words = f"{told[i]}  {100 * chances[i]:.0f}%"
        axes[0, i].set_title(words, fontsize=10, pad=3, color=INK if right else SECOND)
        for j, (label, maps) in enumerate(rows, start=1):
            row_label(axes[j, 0], label)
            overlay(bare(axes[j, i]), data.images[i, 0], maps[i])
            frame_reach(axes[j, i], maps[i], (SIDE, SIDE))
            mark_patch(axes[j, i], patches[i], maps[i], (SIDE, SIDE))
    save(figure, path)


def spoken(attn: nn.Module) -> str:
    """An attention kind in words: ``TalkingHeadsAttention`` is "talking heads"."""
    return " ".join(re.findall("[A-Z][a-z]*", type(attn).__name__.removesuffix("Attention"))).lower()


def overlay(axes: Axes, image: Tensor, seen: Tensor) -> None:
    """The weights as colour, each map from nothing to its own largest, with the digit's outline over them."""
    axes.imshow(seen.clamp(min=0), cmap=HEAT, vmin=0, extent=extent(image.shape))
    axes.contour(image, levels=[0.45], colors="white", linewidths=0.9, alpha=0.75)


def training_picture(before: Sequence[Epoch], right_after: float, later: Sequence[Epoch], path: Path) -> None:
    """Loss and held-out accuracy by epoch; after the dashed line, with the attention of the best epoch's model swapped."""
    figure = Figure(figsize=(10.4, 4.1))
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.985, bottom=0.125, top=0.76, wspace=0.17)
    title(
        figure,
        "Training on scanned digits, then a swap in the trained model",
        "From the dashed line on, in orange: the last two blocks attend in windows instead of among all patches.",
    )
    swap = len(before)
    for axes, heading in ((left, "training loss, mean of the epoch"), (right, "held-out accuracy, %")):
        axes.set_title(heading, fontsize=11, loc="left", color=INK)
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axvline(swap, color="#9aa5b1", linewidth=1, linestyle=(0, (4, 3)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e4e7eb")
    epochs, epochs_later = range(1, swap + 1), range(swap + 1, swap + len(later) + 1)
    left.plot(epochs, [epoch.loss for epoch in before], color=ACCENT, **DOTS)
    left.plot(epochs_later, [epoch.loss for epoch in later], color=SECOND, **DOTS)
    left.set_ylim(bottom=0)
    right.plot(epochs, [100 * epoch.accuracy for epoch in before], color=ACCENT, **DOTS)
    swapped = [100 * right_after, *(100 * epoch.accuracy for epoch in later)]
    right.plot([swap, *epochs_later], swapped, color=SECOND, **DOTS)
    words = f"{100 * best(before):.1f} before\n{swapped[0]:.1f} right after\n{100 * best(later):.1f} in the end"
    beside = {"xycoords": right.get_xaxis_transform(), "textcoords": "offset points", "ha": "right"}
    right.annotate(words, (swap, 0.05), (-8, 0), fontsize=10, color=INK, backgroundcolor=PAPER, **beside)
    save(figure, path)


def best(epochs: Sequence[Epoch]) -> float:
    """The accuracy of the model that was kept."""
    return max(epoch.accuracy for epoch in epochs)


def table_picture(rows: Sequence[Row], path: Path) -> None:
    """The model as a table of layers; the last row is the whole."""
    width, step = 9.6, 0.3
    figure = Figure(figsize=(width, step * (len(rows) + 1) + 0.85))
    axes = bare(figure.add_axes((0.0, 0.0, 1.0, 1.0)))
    axes.set(xlim=(0, width), ylim=(figure.get_figheight(), 0))
    title(figure, "The hybrid, layer by layer", f"For one image of {SIDE}x{SIDE} pixels.")
    columns = ((0.12, "left"), (1.75, "left"), (5.25, "left"), (8.2, "right"), (width - 0.14, "right"))
    for i, cells in enumerate([HEADINGS, *rows]):
        middle = 0.85 + step * i
        weight = "bold" if i in (0, len(rows)) else "normal"
        if i % 2:
            axes.add_patch(Rectangle((0, middle - step / 2), width, step, color="#eef2f6", linewidth=0))
        for (x, side), words in zip(columns, cells, strict=True):
            axes.text(x, middle, words, ha=side, va="center", fontsize=10.5, color=INK, weight=weight)
    save(figure, path)
