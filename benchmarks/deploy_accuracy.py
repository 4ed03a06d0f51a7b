"""``python -m benchmarks.deploy_accuracy``: what bfloat16 and int8 cost trained models in accuracy, and what they save in time.

A ViT (on a convolutional stem), a Swin and the demo's hybrid are trained on 1,437 scanned digits, and tell the 360 held out: in PyTorch,
then deployed in each precision. 256 of the training images say the scales of int8. Times are of the process, all ways of a model in turn,
for ``--batch`` images. Needs the extras ``openvino``, ``onnx``, ``int8`` and ``train``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitblocks import CompactStem, Swin, ViT, checkpoint, deploy
from vitblocks.demo.hybrid import hybrid
from vitblocks.deploying import RUNTIMES, process_milliseconds

from .digits import SIDE, Labelled, digits
from .learning import train
from .swap import machine
from .tables import markdown

CALIBRATION = 256
MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "ViT": lambda: ViT(
        image_size=SIDE,
        patch_size=2,
        num_classes=10,
        dim=64,
        depth=4,
        heads=4,
        mlp_dim=256,
        channels=1,
        embed=CompactStem(64, channels=1, kernel_size=3, stride=1, padding=1),
    ),
    "Swin": lambda: Swin(
        image_size=SIDE,
        patch_size=2,
        num_classes=10,
        dim=48,
        depths=(2, 2),
        heads=(2, 4),
        window=4,
        channels=1,
        drop_path=0.0,
    ),
    "hybrid": hybrid,
}
PRECISIONS = ("float32", "bfloat16", "int8")


def right(model: Callable[[Tensor], Tensor], data: Labelled, batch: int) -> float:
    """The share of images told right, in percent."""
    with torch.no_grad():
        logits = torch.cat([model(images) for images in data.images.split(batch)])
    return 100 * (logits.argmax(dim=1) == data.labels).double().mean().item()


def precision_options(precision: str, learned: Labelled) -> dict[str, Any]:
    if precision == "int8":
        return {"int8": learned.images[:CALIBRATION]}
    return {"dtype": getattr(torch, precision)}


def trained(
    name: str, learned: Labelled, held_out: Labelled, generator: torch.Generator, options: argparse.Namespace
) -> nn.Module:
    """The model of an earlier run with ``--keep``, or one trained now."""
    model, path = MODELS[name](), None if options.keep is None else options.keep / f"{name}.safetensors"
    if path is not None and path.exists():
        checkpoint.load_file(model, path)
        return model.eval()
    for epoch in train(model, learned, held_out, epochs=options.epochs, generator=generator):
        print(f"{name}: loss {epoch.loss:.3f}, held out {100 * epoch.accuracy:.1f}%", flush=True)
    if path is not None:
        checkpoint.save(model, path)
    return model.eval()


def measure(name: str, options: argparse.Namespace) -> list[list[str]]:
    """Rows of the table for one model."""
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    learned, held_out = digits(options.seed)
    model = trained(name, learned, held_out, generator, options)
    sample = held_out.images[: options.batch]
    ways: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {("PyTorch", "float32"): model}
    for runtime in options.runtimes:
        for precision in PRECISIONS:
            if precision == "bfloat16" and torch.bfloat16 not in RUNTIMES[runtime].DTYPES:
                continue
            ways[runtime, precision] = deploy(
                model, sample, runtime, bound=1.0, **precision_options(precision, learned)
            )
    before = right(model, held_out, options.batch)
    with torch.no_grad():
        times = process_milliseconds(
            {" ".join(way): lambda run=run: run(sample) for way, run in ways.items()},  # type: ignore[misc]
            seconds=options.seconds,
        )
    rows = []
    for (runtime, precision), run in ways.items():
        after, ms = right(run, held_out, options.batch), times[f"{runtime} {precision}"]
        plain = times[f"{runtime} float32"]
        ratios = [f"{base / ms:.2f}" for base in (plain, times["PyTorch float32"])]
        rows.append([name, runtime, precision, f"{after:.1f}%", f"{before - after:.1f}", f"{ms:.2f}", *ratios])
        print(" | ".join(rows[-1]), flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy_accuracy", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "onnxruntime"], choices=list(RUNTIMES))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, for each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the trained weights, used again where they are there")
    parser.add_argument("--output", type=Path, help="where the table is written to, too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    head = ["model", "runtime", "precision", "right", "points lost", "ms", "times float32", "times PyTorch"]
    rows = [row for name in options.models for row in measure(name, options)]
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    text = f"{where}, {options.batch} images:\n\n{markdown([head, *rows], left=3)}\n"
    print(f"\n{text}")
    if options.output is not None:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
