"""``bench`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import torch
import typer

from ..inspect import summary as counted
from .changing import sample_for
from .output import Json, Size, examples, say
from .sources import SOURCE, model_from, options_of


def add(app: typer.Typer) -> None:
    app.command("bench", epilog=examples("vitblocks bench vit_small_patch16_224 --batch 8 --threads 1"))(bench)
    app.command("demo", epilog=examples("vitblocks demo --output demo"))(demo)


def bench(
    source: Annotated[str, typer.Argument(metavar="MODEL", help=f"The model: {SOURCE}.", show_default=False)],
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 8,
    size: Size = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each of both is measured.")] = 3.0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; PyTorch's own choice if not given.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="An argument of the model, key=value.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure images a second, in inference and in a training step. Beside other libraries: python -m benchmarks.compare."""
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu or cuda, got {device!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("--device must be cpu: there is no GPU that PyTorch sees")
    if threads is not None:
        torch.set_num_threads(threads)
    model = model_from(source, options=options_of(option or [], "--option")).to(device)
    images = sample_for(model, size, batch).to(device)

    def infer() -> None:
        with torch.no_grad():
            model(images)

    def train() -> None:
        model(images).float().square().mean().backward()
        model.zero_grad()

    model.eval()
    inference = batch / _time(infer, seconds, device)
    model.train()
    training = batch / _time(train, seconds, device)
    counts = counted(model, (images.shape[2], images.shape[3]))
    found = {
        "model": source,
        "device": device,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "image": list(images.shape[1:]),
        "parameters": counts.params,
        "macs": counts.macs,
        "inference_images_per_second": inference,
        "training_images_per_second": training,
    }
    where = f"{device}, {found['threads']} threads" if device == "cpu" else torch.cuda.get_device_name()
    words = f"{source} ({where}, batches of {batch}): {inference:,.1f} images/s in inference, {training:,.1f} in training (medians)"
    say(found, as_json, words)


def _time(work: Callable[[], object], seconds: float, device: str) -> float:
    """The median time of one call, after two to warm up."""
    times: list[float] = []
    for _ in range(2):
        work()
    while sum(times) < seconds or len(times) < 3:
        began = perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(perf_counter() - began)
    return median(times)


def demo(
    output: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the weights and the training.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="To train for.")] = 20,
) -> int:
    """Train a hybrid of five papers' parts on scanned digits, and draw what it looks at."""
    from ..demo import main

    return main(["--output", str(output), "--seed", str(seed), "--epochs", str(epochs)])
