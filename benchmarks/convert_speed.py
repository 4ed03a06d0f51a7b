"""``python -m benchmarks.convert_speed``: how many times as fast the whole model is when its global attention was converted.

The ViT of ``benchmarks.convert``, with random weights, takes one image: in PyTorch as it is, and with ``--runtimes`` deployed, too. Every
conversion runs in turns with the original, by the time of the process; the speed is the median of the ratios of neighbouring turns, with
the quartiles beside it.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from vitblocks import ViT, convert as conversion, deploy
from vitblocks.deploying.measuring import seconds_of

from .convert_setting import KINDS, PATCH, vit
from .tables import markdown

Call = Callable[[], object]
Runtime = Literal["eager", "onnxruntime", "openvino"]
RUNTIMES: dict[str, Runtime] = {"onnxruntime": "onnxruntime", "openvino": "openvino"}


def mixes(layers: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Every layer in each kind, and all but the first."""
    whole = {f"all {kind.name}": dict.fromkeys(layers, kind.name) for kind in KINDS}
    return {**whole, **{f"all but the first {kind.name}": dict.fromkeys(layers[1:], kind.name) for kind in KINDS[:3]}}


@torch.no_grad()
def ratios(original: Call, other: Call, turns: int) -> list[float]:
    """The times of ``original`` by those of ``other``, turn by turn."""
    for call in (original, other):
        call()
    return [seconds_of(original, 3) / seconds_of(other, 3) for _ in range(turns)]


def called(model: ViT, image: Tensor, runtime: Runtime) -> Call:
    """One call of the model as it is, or deployed."""
    return partial(model, image) if runtime == "eager" else partial(deploy(model, image, runtime), image)


def cell(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def speeds(side: int, runtime: Runtime, turns: int) -> dict[str, str]:
    torch.manual_seed(0)
    original, image = vit(side).eval(), torch.randn(1, 1, side, side)
    before = called(original, image, runtime)
    found = {}
    for name, assignment in mixes(conversion.global_layers(original)).items():
        student = conversion.converted(original, assignment, KINDS).eval()
        assert isinstance(student, ViT)
        found[name] = cell(ratios(before, called(student, image, runtime), turns))
        print(side, runtime, name, found[name], flush=True)
    return found


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convert_speed", description=__doc__)
    parser.add_argument("--sides", nargs="+", type=int, default=[112], help="of the images; patches are of 4")
    parser.add_argument("--runtimes", nargs="*", choices=RUNTIMES, default=[], help="deployed with these besides")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    asked: list[Runtime] = ["eager", *(RUNTIMES[name] for name in options.runtimes)]
    columns = {
        f"{runtime}, {(side // PATCH) ** 2} tokens": speeds(side, runtime, options.turns)
        for side in options.sides
        for runtime in asked
    }
    names = list(next(iter(columns.values())))
    print(markdown([["attention", *columns], *([name, *(c[name] for c in columns.values())] for name in names)]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
