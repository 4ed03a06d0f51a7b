"""``python -m benchmarks.deploy``: a runtime on ours, folded, against the same runtime on timm's own model with the same weights.

Both sides go the same way (``vitblocks.deploying``: through ONNX, a graph of its own for the batch in OpenVINO), in one process, timed in
turn by the time that the process had a core. Above 1 ours is the faster one. The outputs of both sides are compared first.
``--runtimes`` takes PyTorch itself, too, ``eager`` and ``compile``: what folding gives there.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

import vitblocks
from vitblocks.deploying import RUNTIMES, Settings
from vitblocks.deploying.runtime import Session
from vitblocks.folding.report import relative_error

from .pairing import Pairing, compare
from .peers import PEERS as ALL, Peer, pair
from .swap import machine
from .tables import markdown

NAMES = ("ViT-S", "LeViT-256", "PiT-S", "Twins-SVT-S", "CaiT-XXS24", "Swin-T", "MobileViT-XS", "DINOv2-S")
PEERS = tuple(peer for peer in ALL if peer.name in {f"{name}/timm" for name in NAMES})


def session_of(name: str, model: nn.Module, images: Tensor) -> Session:
    """The model in a runtime, made for images of this size and number."""
    runtime = RUNTIMES[name]
    settings = Settings(
        (len(images), 3, images.shape[2], images.shape[3]), ("logits",), threads=torch.get_num_threads()
    )
    with TemporaryDirectory() as folder:
        runtime.write(model, images, Path(folder), settings)
        session = runtime.Session(Path(folder), settings)
        session(images)  # the first call may read the files
    return session


def through(name: str, model: nn.Module, images: Tensor) -> Callable[[], Any]:
    """The model in a runtime, or in PyTorch: what calls it on these images."""
    if name == "eager":
        return lambda: model(images)
    if name == "compile":
        torch.compiler.reset()
        compiled = torch.compile(model, dynamic=False)
        return lambda: compiled(images)
    session = session_of(name, model, images)
    return lambda: session(images)[0]


@torch.no_grad()
def measure(
    peer: Peer, names: Sequence[str], batches: Sequence[int], seconds: float
) -> dict[tuple[str, int], tuple[Pairing, float]]:
    """For each runtime and batch the paired times, and the largest difference of the outputs over the largest output."""
    ours, theirs = (model.eval() for model in pair(peer))
    found = {}
    for batch in batches:
        images = torch.randn(batch, 3, peer.image_size, peer.image_size)
        folded = vitblocks.fold(ours, images, outputs="logits").model
        right = theirs(images)
        for name in names:
            sides = through(name, folded, images), through(name, theirs, images)
            errors = [relative_error(side(), right) for side in sides]
            if max(errors) > 1e-3:
                raise RuntimeError(f"{peer.name} in {name}: ours is off by {errors[0]:.1e}, theirs by {errors[1]:.1e}")
            times = compare(*sides, torch.device("cpu"), seconds=seconds, sample=0.1, pairs=7, clock=time.process_time)
            found[name, batch] = times, errors[0]
            print(
                f"{peer.architecture}, {name}, batch {batch}: theirs {times.theirs * 1e3:.1f} ms, ours {times.ours * 1e3:.1f} ms, "
                f"{times.ratio:.2f} ({times.low:.2f} to {times.high:.2f}, {times.pairs} pairs), off by {errors[0]:.1e}",
                flush=True,
            )
    return found


def table(rows: dict[str, dict[tuple[str, int], tuple[Pairing, float]]]) -> str:
    """Ratios, and times in milliseconds, with the geometric means and the least below."""
    columns = list(next(iter(rows.values())))
    lines = [["model", *(f"{name}, {batch}" for name, batch in columns)]]
    for model, cells in rows.items():
        shown = [(cells[column][0].ratio, cells[column][0].ours, cells[column][0].theirs) for column in columns]
        lines.append([model, *(f"{ratio:.2f} ({b * 1e3:.1f} / {a * 1e3:.1f})" for ratio, a, b in shown)])
    ratios = [[cells[column][0].ratio for cells in rows.values()] for column in columns]
    means = (math.exp(statistics.fmean(map(math.log, column))) for column in ratios)
    lines.append(["geometric mean", *(f"{mean:.2f}" for mean in means)])
    lines.append(["least", *(f"{min(column):.2f}" for column in ratios)])
    return markdown(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy", description=__doc__)
    parser.add_argument("--only", nargs="+", help="parts of the models' names; all if left out")
    parser.add_argument(
        "--runtimes",
        nargs="+",
        default=["openvino", "onnxruntime"],
        choices=["openvino", "onnxruntime", "eager", "compile"],
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each timing (default: 10), in 7 pairs at least")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--best", action="store_true", help="what deploy says of ours with all runtimes, and nothing else"
    )
    parser.add_argument("--output", type=Path, help="where the table is written to, too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    chosen = [p for p in PEERS if not options.only or any(o.lower() in p.name.lower() for o in options.only)]
    if options.best:
        for peer in chosen:
            images = torch.randn(options.batches[0], 3, peer.image_size, peer.image_size)
            print(
                f"{peer.architecture}, batch {len(images)}: {vitblocks.deploy(peer.ours(), images, 'best').report}\n",
                flush=True,
            )
        return
    rows = {peer.architecture: measure(peer, options.runtimes, options.batches, options.seconds) for peer in chosen}
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    text = f"{where}. timm's time over ours, and both in milliseconds (timm / ours), by batch:\n\n{table(rows)}\n"
    print(f"\n{text}")
    if options.output is not None:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
