"""``python -m benchmarks.folding``: what ``vitblocks.fold`` gains over the same model unfolded, timed in turn on published sizes.

``--rules`` measures what each rule gives by itself: the time of a model that was folded without it over that of one folded by all, both
for their logits, for every rule that does something to the model. ``--runtimes`` says in what, by the time that the process had a core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import vitblocks
from vitblocks.deploying import process_milliseconds
from vitblocks.folding.fold import RULES

from .deploy import through
from .pairing import Pairing, compare
from .swap import machine
from .tables import markdown

VARIANTS = (
    "vit_small_patch16_224",
    "cait_xxs24_224",
    "levit_256",
    "mobilevit_xs",
    "cvt_13_224",
    "twins_svt_small",
    "pit_s_224",
    "nest_tiny",
    "crossformer_small",
    "deepvit_s",
    "t2t_vit_14",
    "localvit_tiny_mlp4_se_r192",
)


@torch.inference_mode()
def gain(name: str, batch: int, dtype: torch.dtype, seconds: float) -> Pairing:
    """A published variant folded (ours) against unfolded (theirs)."""
    torch.manual_seed(0)
    model = vitblocks.create_model(name).eval().to(dtype)
    size = model.image_size or (224, 224)
    images = torch.randn(batch, 3, *size, dtype=dtype)
    folded, _ = vitblocks.fold(model, images)
    return compare(lambda: folded(images), lambda: model(images), torch.device("cpu"), seconds=seconds)


@torch.no_grad()
def worth(name: str, runtime: str, batch: int, seconds: float) -> dict[str, float]:
    """Of a published variant: for each rule that does something to it, and for ``"all"``, the time without over the time with all rules."""
    torch.manual_seed(0)
    model = vitblocks.create_model(name).eval()
    images = torch.randn(batch, 3, *(model.image_size or (224, 224)))
    every, report = vitblocks.fold(model, images, outputs="logits")
    ways = {"with": through(runtime, every, images), "all": through(runtime, model, images)}
    for rule in RULES:
        without = vitblocks.fold(model, images, outputs="logits", without=[rule])
        if rule != "dropout" and without.report.counts != report.counts:
            ways[rule] = through(runtime, without.model, images)
    times = process_milliseconds(ways, seconds=seconds)
    return {rule: times[rule] / times["with"] for rule in ways if rule != "with"}


def rules(options: argparse.Namespace) -> None:
    """A table for each runtime and batch: a line for each model, a column for each rule."""
    for runtime in options.runtimes:
        for batch in options.batches:
            found = {}
            for name in options.variants:
                found[name] = worth(name, runtime, batch, options.seconds)
                print(f"{runtime}, {batch}: {name}, {found[name]}", flush=True)
            heads = [rule for rule in ("all", *RULES) if any(rule in row for row in found.values())]
            cells = [[f"{row[rule]:.2f}" if rule in row else "" for rule in heads] for row in found.values()]
            lines = [["model", *heads], *([f"`{name}`", *row] for name, row in zip(found, cells, strict=True))]
            print(f"\n{runtime}, batch {batch}\n\n{markdown(lines)}\n", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folding", description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="names as vitblocks.list_models() gives")
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timing (default: 3), in 5 pairs at least")
    parser.add_argument("--rules", action="store_true", help="what each rule gives, on one thread")
    parser.add_argument(
        "--runtimes", nargs="+", default=["openvino"], choices=["openvino", "onnxruntime", "eager", "compile"]
    )
    options = parser.parse_args(arguments)
    if options.rules:
        torch.set_num_threads(1)
        rules(options)
        return
    cells = [f"batch {batch}: before | folded | times" for batch in options.batches]
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}, {options.dtype}\n")
    print(f"| model | {' | '.join(cells)} |\n| --- |{' ---: |' * 3 * len(cells)}")
    for name in options.variants:
        found = [gain(name, batch, getattr(torch, options.dtype), options.seconds) for batch in options.batches]
        shown = [f"{p.theirs * 1e3:.1f} ms | {p.ours * 1e3:.1f} ms | {p.ratio:.2f}" for p in found]
        print(f"| `{name}` | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
