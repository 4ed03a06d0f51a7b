"""What a layer costs: multiply-adds, measured time, and what it keeps for its backward."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..grid import Grid
from ..inspect.frames import evaluating
from ..inspect.twin import counting, meta_twin

Cost: TypeAlias = Literal["macs", "seconds", "parameters", "activations"]
"""What a plan can save."""

REPEATS = 7
"""How often a layer is timed; the median counts."""


class Costs(NamedTuple):
    """What a layer costs: multiply-adds and seconds for one image, weights, and bytes kept for its backward for one image."""

    macs: int
    seconds: float
    parameters: int
    activations: int


def layer_macs(layer: nn.Module, x: Tensor, grid: Grid) -> int:
    """The multiply-adds of a layer for one image, whose tokens are shaped as these."""
    twin = meta_twin(layer)
    image = torch.empty(1, *x.shape[1:], dtype=x.dtype, device="meta")
    with torch.no_grad(), counting(twin) as counts:
        twin(image, grid)
    return counts[""]


def layer_activations(layer: nn.Module, x: Tensor, grid: Grid) -> int:
    """The bytes of the tensors that autograd keeps of a layer for one image, whose tokens are shaped as these; weights do not count."""
    owned = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = x[:1].detach().clone().requires_grad_()
    with torch.enable_grad(), evaluating(layer), saved_tensors_hooks(keep, lambda tensor: tensor):
        given = layer(image, grid)  # held, so that no storage is freed and used again while they are counted
    del given
    return sum(kept.values())


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
