"""``python -m benchmarks.folding``: what ``vitblocks.fold`` gains over the same model unfolded, timed in turn on published sizes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

import vitblocks

from .pairing import Pairing, compare
from .swap import machine

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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folding", description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="names as vitblocks.list_models() gives")
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 1])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timing (default: 3), in 5 pairs at least")
    options = parser.parse_args(arguments)
    cells = [f"batch {batch}: before | folded | times" for batch in options.batches]
    print(f"{', '.join(f'{name} {value}' for name, value in machine().items())}, {options.dtype}\n")
    print(f"| model | {' | '.join(cells)} |\n| --- |{' ---: |' * 3 * len(cells)}")
    for name in options.variants:
        found = [gain(name, batch, getattr(torch, options.dtype), options.seconds) for batch in options.batches]
        shown = [f"{p.theirs * 1e3:.1f} ms | {p.ours * 1e3:.1f} ms | {p.ratio:.2f}" for p in found]
        print(f"| `{name}` | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
