"""``python -m benchmarks.swap``: what it is worth to swap the attention of a trained model rather than to train the other model anew.

A small ViT on a convolutional stem is trained on scanned digits. Then, for every attention kind: its blocks are swapped to that kind
with their weights carried over; held-out accuracy is measured before, right after, and after brief fine-tuning; and a model that has the
kind from the start, with fresh weights, is trained for as many steps as both together. The first row is the control: nothing is swapped,
the same fine-tuning.

Everything is repeated for several seeds (of the split, the weights and the training). A table is printed, and written to the folder of
``--output`` as ``swap.md``, with ``swap.json`` and ``swap.png``. RegionalAttention is left out: it needs a token for every window.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn

import vitblocks
from vitblocks import (
    Block,
    ClassAttention,
    ClassPool,
    ClassToken,
    CompactStem,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LayerNorm,
    LearnedPosition,
    LocalWindowAttention,
    Mlp,
    Model,
    ReAttention,
    ReducedAttention,
    Stage,
    TalkingHeadsAttention,
    WindowAttention,
    summary,
    swap_attention,
)
from vitblocks.attention import Attention, ShiftedWindows

from .digits import SIDE, Labelled, digits
from .learning import accuracy, steps_per_epoch, train
from .tables import markdown

DIM, HEADS, DEPTH, GRID = 32, 4, 3, (8, 8)
RATE, RATE_AFTER_SWAP = 3e-3, 1e-3

Kind = tuple[type[Attention], Callable[[], dict[str, Any]]]
KINDS: dict[str, Kind] = {
    "talking heads": (TalkingHeadsAttention, dict),
    "re-attention": (ReAttention, dict),
    "windows of 4": (LocalWindowAttention, lambda: {"window": 4}),
    "shifted windows of 4": (WindowAttention, lambda: {"windows": ShiftedWindows(4)}),
    "dilated windows of 4": (DilatedWindowAttention, lambda: {"window": 4, "dilation": 2}),
    "reduced by 2": (ReducedAttention, lambda: {"reduction": 2}),
    "convolutional projection": (ConvProjectionAttention, dict),
    "kernel features": (GlobalAttention, lambda: {"attend": KernelAttend(DIM // HEADS)}),
    "class attention": (ClassAttention, dict),
}
CONTROL = "global, not swapped"


@dataclass
class Row:
    """One kind: held-out accuracies, one for each seed, and what the swap changes besides."""

    kind: str
    before: list[float] = field(default_factory=list)
    right_after: list[float] = field(default_factory=list)
    fine_tuned: list[float] = field(default_factory=list)
    from_scratch: list[float] = field(default_factory=list)
    logit_drift: list[float] = field(default_factory=list)
    parameters: int = 0
    macs: int = 0


COLUMNS = {
    "before": "before",
    "right_after": "right after",
    "fine_tuned": "fine-tuned",
    "from_scratch": "from scratch",
}


@dataclass(frozen=True)
class Settings:
    """How long is trained, and how often all of it is repeated."""

    epochs: int
    epochs_after_swap: int
    seeds: int


@dataclass(frozen=True)
class Bench:
    """The data of one seed, and training on it."""

    seed: int
    data: Labelled
    held_out: Labelled

    def train(self, model: nn.Module, epochs: int, rate: float) -> float:
        """Train in place; the held-out accuracy at the end. Every run of a seed sees the same batches."""
        generator = torch.Generator().manual_seed(self.seed)
        *_, last = train(model, self.data, self.held_out, epochs=epochs, generator=generator, learning_rate=rate)
        return last.accuracy


def vit(make: type[Attention] = GlobalAttention, options: Callable[[], dict[str, Any]] = dict) -> Model:
    """The model: 8 x 8 patches by a convolution, a class token, learned positions, blocks of one kind of attention."""
    blocks = [Block(DIM, make(DIM, HEADS, **options()), Mlp(DIM, 2 * DIM)) for _ in range(DEPTH)]
    return Model(
        embed=CompactStem(DIM, channels=1, kernel_size=3, stride=1, padding=1),
        stages=[Stage([ClassToken(DIM), LearnedPosition(DIM, GRID, num_prefix=1), *blocks])],
        norm=LayerNorm(DIM),
        pool=ClassPool(),
        head=nn.Linear(DIM, 10),
        image_size=SIDE,
    )


def run_seed(seed: int, settings: Settings, rows: dict[str, Row]) -> Iterator[str]:
    """Everything for one seed, into ``rows``; yields what was just done."""
    bench = Bench(seed, *digits(seed))
    both = settings.epochs + settings.epochs_after_swap
    torch.manual_seed(seed)
    trained = vit()
    before = bench.train(trained, settings.epochs, RATE)
    yield "trained"
    for name, row in rows.items():
        model = deepcopy(trained)
        row.before.append(before)
        drift = 0.0
        if name != CONTROL:
            make, options = KINDS[name]
            report = swap_attention(model, make, sample=bench.data.images[:256], **options())
            assert report.drift is not None
            drift = report.drift.logits
        row.logit_drift.append(drift)
        counted = summary(model)
        row.parameters, row.macs = counted.params, counted.macs
        row.right_after.append(accuracy(model, bench.held_out))
        row.fine_tuned.append(bench.train(model, settings.epochs_after_swap, RATE_AFTER_SWAP))
        torch.manual_seed(seed)
        row.from_scratch.append(bench.train(vit(*KINDS.get(name, ())), both, RATE))
        yield name


def shown(values: Sequence[float]) -> str:
    """The mean in percent, and from the least to the most of the seeds."""
    mean = f"{100 * statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def table(rows: Sequence[Row]) -> str:
    """The rows as a markdown table."""
    lines = [("attention swapped to", *COLUMNS.values(), "logit drift", "parameters", "MACs")]
    for row in rows:
        drift = f"{statistics.fmean(row.logit_drift):.2g}"
        cells = [shown(getattr(row, name)) for name in COLUMNS]
        lines.append((row.kind, *cells, drift, f"{row.parameters:,}", f"{row.macs / 1e6:.2f} M"))
    return markdown(lines)


def plot(rows: Sequence[Row], settings: Settings, path: Path) -> None:
    """A line for each kind: how far accuracy falls by the swap, where fine-tuning takes it, and what training anew gives."""
    figure = Figure(figsize=(9.6, 0.45 * len(rows) + 2.1))
    axes = figure.add_axes((0.23, 0.9 / figure.get_figheight(), 0.74, 1 - 1.75 / figure.get_figheight()))
    styles: dict[str, dict[str, Any]] = {
        "right_after": {"marker": "o", "markerfacecolor": "white", "color": "#9a3412"},
        "fine_tuned": {"marker": "o", "color": "#0b6e99"},
        "from_scratch": {"marker": "D", "color": "#6b7280", "markersize": 5},
    }
    for i, row in enumerate(rows):
        for j, (name, style) in enumerate(styles.items()):
            values = [100 * value for value in getattr(row, name)]
            mean, height = statistics.fmean(values), i + 0.16 * (j - 1)
            axes.plot([min(values), max(values)], [height, height], color=style["color"], linewidth=1.5)
            axes.plot(mean, height, linestyle="none", label=COLUMNS[name] if i == 0 else None, **style)
    before = 100 * statistics.fmean(rows[0].before)
    axes.axvline(before, color="#9aa5b1", linewidth=1, linestyle=(0, (4, 3)), label="before the swap")
    axes.set_yticks(range(len(rows)), [row.kind for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("held-out accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e7eb")
    axes.set_axisbelow(True)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.4, -0.55 / (axes.get_position().height * figure.get_figheight())),
        ncols=4,
        frameon=False,
    )
    seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds, lines from the least to the most"
    figure.text(
        0.02, 1 - 0.3 / figure.get_figheight(), "Swapping the attention of a trained ViT", fontsize=13, weight="bold"
    )
    words = (
        f"Scanned digits, {settings.epochs} epochs, then {settings.epochs_after_swap} after the swap; "
        f"from scratch for both together. {seeds}."
    )
    figure.text(0.02, 1 - 0.55 / figure.get_figheight(), words, fontsize=9)
    figure.savefig(path, dpi=120)


def machine() -> dict[str, str | int]:
    """Where this ran and with what."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vitblocks": vitblocks.__version__,
    }


def asked() -> tuple[Settings, Path]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.swap", description="Swap the attention of a trained ViT."
    )
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="folder for swap.json and swap.png"
    )
    parser.add_argument("--quick", action="store_true", help="2 epochs, 1 after the swap, 1 seed: to see that it works")
    parser.add_argument("--epochs", type=int, default=10, help="of training before the swap (default: 10)")
    parser.add_argument("--epochs-after-swap", type=int, default=2, help="of fine-tuning (default: 2)")
    parser.add_argument("--seeds", type=int, default=3, help="how often all is repeated (default: 3)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's own choice)")
    options = parser.parse_args()
    for name in ("epochs", "epochs_after_swap", "seeds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    settings = Settings(options.epochs, options.epochs_after_swap, options.seeds)
    return Settings(2, 1, 1) if options.quick else settings, options.output


def main() -> None:
    settings, folder = asked()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    rows = {name: Row(name) for name in (CONTROL, *KINDS)}
    for seed in range(settings.seeds):
        for done in run_seed(seed, settings, rows):
            print(f"{time.perf_counter() - began:5.0f} s  seed {seed}: {done}", file=sys.stderr)
    made, where = list(rows.values()), machine()
    train_data, held_out = digits(0)
    steps = steps_per_epoch(train_data)
    about = {
        "machine": where,
        "settings": asdict(settings),
        "steps": {"before": settings.epochs * steps, "after": settings.epochs_after_swap * steps},
        "images": {"train": len(train_data.labels), "held_out": len(held_out.labels)},
        "seconds": round(time.perf_counter() - began),
    }
    words = (
        f"Held-out accuracy in percent, {settings.seeds} seed(s), mean (least to most). {settings.epochs} + "
        f"{settings.epochs_after_swap} epochs of {steps} steps; {about['seconds']} s on {where['processor']}, "
        f"{where['threads']} threads, Python {where['python']}, torch {where['torch']}."
    )
    (folder / "swap.json").write_text(json.dumps({**about, "rows": [asdict(row) for row in made]}, indent=2) + "\n")
    (folder / "swap.md").write_text(f"{table(made)}\n\n{words}\n")
    plot(made, settings, folder / "swap.png")
    print(f"{table(made)}\n\n{words}\nwritten to {folder}: swap.md, swap.json, swap.png")


if __name__ == "__main__":
    main()
