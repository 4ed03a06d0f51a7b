"""The pass that records what a model does on a GPU, and replays it: where calls are the limit, and not the GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..checks import tracing
from .extend import Extension, extend, retract, split
from .report import Report

WARM = 3
"""Calls before one is recorded: libraries choose their kernels and take their memory in the first ones."""


def graphs(model: nn.Module) -> Report:
    """Record what a call of the model does on its GPU and replay it for every later call of the same size; in place.

    A small model, or a single image, leaves a GPU waiting for Python: a recorded call is started as one. Nothing is computed another
    way. Recorded (``torch.cuda.CUDAGraph``) are calls in evaluation mode and without gradients that take and give tensors, once for each
    size and precision, and once more after a weight got another place in memory (``.to``, ``.half``). Each holds memory for its
    activations until the pass is undone. A model that asks its values how to go on, or fetches them, cannot be recorded: its call raises
    PyTorch's error. All other calls, and those under ``torch.compile`` or ``torch.jit``, are what they were.

    Args:
        model: any module whose parameters lie on a GPU. What it does must depend on nothing but its inputs and weights: hooks run once,
            when it is recorded, and a part or a parameter that is exchanged for another object later (a swap, ``load_state_dict`` with
            ``assign=True``) is not seen. Undo first, and ask again.
    """
    first = next(chain(model.parameters(), model.buffers()), None)
    if first is None or first.device.type != "cuda":
        place = "nowhere" if first is None else f"on {first.device.type}"
        return Report("graphs", aside=f"the model's weights lie {place}, and only a GPU's calls can be recorded")
    report = Report("graphs")
    if Graphed in split(type(model))[1]:
        report.left[""] = "has it already"
    else:
        extend(model, Graphed)
        report.add("", "recorded at its first call of each size", partial(retract, model, Graphed))
    return report


class Record(NamedTuple):
    """A recorded call: where it reads its arguments, where it leaves what it gives."""

    graph: Any
    inputs: tuple[Tensor, ...]
    output: Any

    def replay(self, args: tuple[Tensor, ...]) -> Any:
        for own, given in zip(self.inputs, args, strict=True):
            own.copy_(given)
        self.graph.replay()
        return _copied(self.output)


class Held:
    """The recorded calls of a model, and where its weights lay when they were recorded."""

    def __init__(self, model: nn.Module) -> None:
        self.records: dict[Any, Record] = {}
        self.weights = [*model.parameters(), *model.buffers()]
        self.places = [weight.data_ptr() for weight in self.weights]

    @property
    def moved(self) -> bool:
        return self.places != [weight.data_ptr() for weight in self.weights]


_HELD: WeakKeyDictionary[nn.Module, Held] = WeakKeyDictionary()
"""Not on the module: a copy records its own calls."""


class Graphed(Extension):
    """A module whose calls on a GPU are recorded and replayed."""

    prefix = "Graphed"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not _recordable(self, args, kwargs):  # type: ignore[arg-type]
            return super().forward(*args, **kwargs)
        held = _HELD.get(self)  # type: ignore[call-overload]
        # A weight that was moved would be read where it lay: what was recorded with it is of no use any more.
        if held is None or held.moved:
            held = _HELD[self] = Held(self)  # type: ignore[index, arg-type]
        autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
        key = (autocast, *((x.shape, x.stride(), x.dtype, x.device) for x in args))
        if key not in held.records:
            held.records[key] = _record(super().forward, args)
        return held.records[key].replay(args)

    @classmethod
    def leave(cls, module: nn.Module) -> None:
        _HELD.pop(module, None)


def _recordable(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if module.training or torch.is_grad_enabled() or kwargs or tracing():
        return False
    tensors = bool(args) and all(isinstance(x, Tensor) and x.is_cuda for x in args)
    return tensors and not torch.cuda.is_current_stream_capturing()


def _record(forward: Callable[..., Any], args: tuple[Tensor, ...]) -> Record:
    with torch.inference_mode(False):  # or they could be written in inference mode alone
        inputs = tuple(x.detach().clone() for x in args)
    stream = torch.cuda.Stream(inputs[0].device)
    stream.wait_stream(torch.cuda.current_stream(inputs[0].device))
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            forward(*inputs)
    torch.cuda.current_stream(inputs[0].device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Autocast keeps casts of weights until it is left: within a graph they would be another graph's memory.
    keeps = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.cuda.graph(graph):
            output = forward(*inputs)
    finally:
        torch.set_autocast_cache_enabled(keeps)
    return Record(graph, inputs, output)


def _copied(output: Any) -> Any:
    """Tensors that the next call leaves alone."""
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*map(_copied, output))
    if isinstance(output, (list, tuple)):
        return type(output)(map(_copied, output))
    if isinstance(output, dict):
        return type(output)({key: _copied(value) for key, value in output.items()})
    return output
