"""What a layer costs: multiply-adds, and measured time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import torch
from torch import Tensor, nn

from ..grid import Grid
from ..inspect.frames import evaluating
from ..inspect.twin import counting, meta_twin

REPEATS = 7
"""How often a layer is timed; the median counts."""


def layer_macs(layer: nn.Module, x: Tensor, grid: Grid) -> int:
    """The multiply-adds of a layer for one image, whose tokens are shaped as these."""
    twin = meta_twin(layer)
    image = torch.empty(1, *x.shape[1:], dtype=x.dtype, device="meta")
    with torch.no_grad(), counting(twin) as counts:
        twin(image, grid)
    return counts[""]


def layer_seconds(layers: Sequence[nn.Module], x: Tensor, grid: Grid) -> list[float]:
    """The seconds that each of some layers takes for these tokens, in turns, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in layers]
    with torch.no_grad():
        for repeat in range(REPEATS + 1):
            for layer, taken in zip(layers, times, strict=True):
                with evaluating(layer):
                    _wait(x)
                    start = time.perf_counter()
                    layer(x, grid)
                    _wait(x)
                    if repeat:  # the first is to warm up
                        taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
