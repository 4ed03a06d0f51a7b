"""A model's twin without values: it finds shapes and counts at no cost, and whatever happens to it, the model stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Module = TypeVar("Module", bound=nn.Module)
TOTAL = "Global"  # what torch's counter calls the sum


def meta_twin(module: Module) -> Module:
    """A copy on the meta device, in evaluation and without hooks; the modules of both have the same names.

    No weight is copied. What is called, replaced or hooked in the twin is not in the original, also while other threads run that.
    """
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad) if is_parameter else empty
    for part in module.modules():  # a hook of the original's would be called with tensors of another model
        memo |= {
            id(value): type(value)()
            for name, value in vars(part).items()
            if "hooks" in name and isinstance(value, dict)
        }
    return deepcopy(module, memo).eval()


@contextmanager
def counting(twin: nn.Module) -> Iterator[dict[str, int]]:
    """Within ``with counting(twin) as macs``, multiply-adds are counted; after it they are in ``macs`` by module, all under ``""``."""
    counter: Any = FlopCounterMode(display=False)
    macs: dict[str, int] = {}
    with _names_of_calls(twin) as calls:
        counter.mod_tracker = calls  # torch's own follows the modules of every thread
        with counter:
            yield macs
    flops = counter.get_flop_counts()
    macs.update((name, sum(flops.get(name, {}).values()) // 2) for name, _ in twin.named_modules() if name)
    macs[""] = counter.get_total_flops() // 2


class _Calls:
    """The calls of modules that are under way by name, as torch's counter wants to know them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @property
    def parents(self) -> set[str]:
        return {TOTAL, *self.names}

    def __enter__(self) -> _Calls:
        return self

    def __exit__(self, *error: object) -> None:
        self.names.clear()


def _end(names: list[str]) -> None:
    names.pop()


@contextmanager
def _names_of_calls(twin: nn.Module) -> Iterator[_Calls]:
    calls = _Calls()
    handles = []
    for name, module in twin.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: calls.names.append(name)))
        handles.append(module.register_forward_hook(lambda *_: _end(calls.names), always_call=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
