"""A model's twin without values: it finds shapes and counts at no cost, and whatever happens to it, the model stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

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
    counter.mod_tracker = _Calls(twin)  # torch's own follows the modules of every thread
    macs: dict[str, int] = {}
    with counter:
        yield macs
    flops = counter.get_flop_counts()
    macs.update((name, sum(flops.get(name, {}).values()) // 2) for name, _ in twin.named_modules() if name)
    macs[""] = counter.get_total_flops() // 2


class _Calls:
    """The calls of a model's modules that are under way by name, as torch's counter wants to know them, which enters and leaves it."""

    def __init__(self, twin: nn.Module) -> None:
        self.twin = twin
        self.names: list[str] = []
        self.handles: list[RemovableHandle] = []

    @property
    def parents(self) -> set[str]:
        return {TOTAL, *self.names}

    def __enter__(self) -> None:
        for name, module in self.twin.named_modules():
            self.handles.append(module.register_forward_pre_hook(self._begin(name)))
            self.handles.append(module.register_forward_hook(self._end, always_call=True))

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _begin(self, name: str) -> Callable[..., None]:
        return lambda *_: self.names.append(name)

    def _end(self, *_: object) -> None:
        self.names.pop()
