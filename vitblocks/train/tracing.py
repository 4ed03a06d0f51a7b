"""Where a number that is none began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def finite(value: Any) -> bool:
    """Whether every floating point number in tensors, however they lie in tuples and dictionaries, is finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, Mapping):
        return all(map(finite, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(finite, value))
    return True


class Origin:
    """The first module whose output is not finite although what came in is. A context, while the module runs.

    Attributes:
        where: its name and class; None as long as there is none.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.where: str | None = None
        self._hooks: list[Any] = []

    def __enter__(self) -> Origin:
        for name, part in self.module.named_modules():
            if not any(True for _ in part.children()) or name == "":
                self._hooks.append(part.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Any:
        def look(part: nn.Module, given: Any, made: Any) -> None:
            if self.where is None and not finite(made):
                own = [key for key, value in part.named_parameters() if not finite(value)]
                of = "images" if not finite(given) and name == "" else f"{name or 'the loss'} ({type(part).__name__})"
                self.where = f"{of}, whose {own[0]} is not finite" if own else of

        return look


def not_finite_gradients(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of the parameters whose gradient is not finite."""
    return [name for name, p in named if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
