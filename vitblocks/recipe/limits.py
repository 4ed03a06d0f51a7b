"""How much a description may ask for, and counting while it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Limits:
    """How much a description may ask for.

    Attributes:
        elements: of all parameters and buffers together, and of any tensor that is made on the way.
        modules: made, those inside of parts included.
        operations: calls of torch's functions, such as those that draw weights.
        number: the largest absolute value of an int among the arguments.
        total: of the absolute values of all ints together, since they may stand in a list of depths.
        depth: how deep values may be nested.
        values: how many values a description may have.
    """

    elements: int = 2**31
    modules: int = 20_000
    operations: int = 200_000
    number: int = 1_000_000
    total: int = 10_000_000
    depth: int = 64
    values: int = 200_000


def show(place: str) -> str:
    return place.removeprefix(".") or "the model"


def check_size(description: Any, limits: Limits) -> None:
    """Raise ValueError unless it is plain data of a bounded size, depth and numbers."""
    waiting = [(description, "", 0)]
    count, total = 0, 0
    while waiting:
        value, place, depth = waiting.pop()
        count += 1
        if depth > limits.depth:
            raise ValueError(f"{show(place)[:200]}: nested deeper than {limits.depth} values")
        if count > limits.values:
            raise ValueError(f"a description of more than {limits.values:,} values")
        if isinstance(value, Mapping):
            if wrong := [key for key in value if not isinstance(key, str)]:
                raise ValueError(f"{show(place)}: the key {wrong[0]!r} is no string")
            waiting += [(item, f"{place}.{key}", depth + 1) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)]
        elif isinstance(value, int):
            total += abs(value)
            if abs(value) > limits.number:
                raise ValueError(f"{show(place)}: {_short(value)} is more than {limits.number:,}")
            if total > limits.total:
                raise ValueError(f"{show(place)}: the numbers of a description are more than {limits.total:,} together")
        elif value is not None and not isinstance(value, (bool, int, float, str)):
            raise ValueError(f"{show(place)}: a {type(value).__name__} is no plain data")


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**20 else "an int of more than 20 digits"


class _Operations(TorchFunctionMode):
    """Raise ValueError once more is computed, or a larger tensor made, than the limits allow: not all is registered."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits, self.left = limits, limits.operations

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.left -= 1
            if self.left < 0:
                raise ValueError(f"more than {self.limits.operations:,} operations")
            if made.numel() > self.limits.elements:
                raise ValueError(f"a tensor of more than {self.limits.elements:,} elements")
        return made


_left: ContextVar[list[int] | None] = ContextVar("left", default=None)


@contextmanager
def counting(limits: Limits) -> Iterator[None]:
    """Raise ValueError in a constructor as soon as more is registered or computed than the limits allow."""
    left = [limits.modules, limits.elements]
    token = _left.set(left)

    def count_module(owner: nn.Module, name: str, module: nn.Module | None) -> None:
        if _left.get() is left:
            left[0] -= 1
            if left[0] < 0:
                raise ValueError(f"more than {limits.modules:,} modules")

    def count_tensor(owner: nn.Module, name: str, tensor: Tensor | None) -> None:
        if _left.get() is left and isinstance(tensor, Tensor):
            left[1] -= tensor.numel()
            if left[1] < 0:
                raise ValueError(f"parameters and buffers of more than {limits.elements:,} elements")

    handles = [
        hooks.register_module_module_registration_hook(count_module),
        hooks.register_module_parameter_registration_hook(count_tensor),
        hooks.register_module_buffer_registration_hook(count_tensor),
    ]
    try:
        with _Operations(limits):
            yield
    finally:
        _left.reset(token)
        for handle in handles:
            handle.remove()
