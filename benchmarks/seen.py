"""``python -m benchmarks.seen``: docs/images/seen.png, what a token sees in every partition with every Attend, from gradients."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from vitblocks.attention import (
    Attend,
    CosineAttend,
    DilatedWindows,
    GlobalAttention,
    GridWindows,
    KernelAttend,
    ReAttend,
    ReducedAttention,
    ShiftedWindows,
    SoftmaxAttend,
    TalkingHeadsAttend,
    WindowAttention,
    Windows,
)
from vitblocks.grid import to_map

GRID, TOKEN = (16, 16), (5, 6)
DIM, HEADS, HEAD_DIM = 32, 4, 8

PARTITIONS: dict[str, Callable[..., nn.Module]] = {
    "all tokens\n(GlobalAttention)": GlobalAttention,
    "Windows(4)": partial(WindowAttention, windows=Windows(4)),
    "ShiftedWindows(4)": partial(WindowAttention, windows=ShiftedWindows(4)),
    "DilatedWindows(4, 2)": partial(WindowAttention, windows=DilatedWindows(4, 2)),
    "GridWindows(4)": partial(WindowAttention, windows=GridWindows(4)),
    "reduced keys\n(ReducedAttention)": partial(ReducedAttention, reduction=4),
}
ATTENDS: dict[str, Callable[[], Attend]] = {
    "SoftmaxAttend": SoftmaxAttend,
    "TalkingHeadsAttend": partial(TalkingHeadsAttend, HEADS),
    "ReAttend": partial(ReAttend, HEADS),
    "CosineAttend": partial(CosineAttend, HEADS),
    "KernelAttend": partial(KernelAttend, HEAD_DIM),
}


def seen(layer: nn.Module) -> Tensor:
    """How much each token's channels move the output at :data:`TOKEN`: the size of the gradient, ``(H, W)``."""
    torch.manual_seed(0)
    x = torch.randn(1, GRID[0] * GRID[1], DIM, requires_grad=True)
    place = TOKEN[0] * GRID[1] + TOKEN[1]
    (gradient,) = torch.autograd.grad(layer.eval()(x, GRID)[0, place].square().sum(), x)
    return to_map(gradient.norm(dim=-1, keepdim=True), GRID)[0, 0]


def cell(axes: Axes, layer: nn.Module) -> None:
    axes.set(xticks=[], yticks=[], facecolor="#e8e8e8")
    try:
        found = seen(layer)
    except ValueError:  # kernel features form no logits, so nothing can be masked
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.text(0.5, 0.5, "takes\nno mask", ha="center", va="center", fontsize=8)
        return
    axes.imshow(torch.where(found == 0, torch.nan, found / found.max()), cmap="viridis", vmin=0, vmax=1)
    axes.plot(TOKEN[1], TOKEN[0], marker="s", markersize=6, markerfacecolor="none", markeredgecolor="red")


def draw() -> Figure:
    figure = Figure(figsize=(1.5 * len(ATTENDS) + 1.9, 1.55 * len(PARTITIONS) + 0.4), dpi=100, layout="constrained")
    panels = figure.subplots(len(PARTITIONS), len(ATTENDS), squeeze=False)
    for row, (partition, kind) in zip(panels, PARTITIONS.items(), strict=True):
        for axes, attend in zip(row, ATTENDS.values(), strict=True):
            torch.manual_seed(0)
            cell(axes, kind(DIM, HEADS, attend=attend()))
        row[0].set_ylabel(partition, fontsize=9)
    for axes, name in zip(panels[0], ATTENDS, strict=True):
        axes.set_title(name, fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seen", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/images/seen.png"))
    draw().savefig(parser.parse_args().output)


if __name__ == "__main__":
    main()
