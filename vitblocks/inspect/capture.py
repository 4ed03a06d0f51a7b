"""Collect what modules of one kind return, without a flag in any forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .frames import in_this_thread


@contextmanager
def capture(model: nn.Module, kind: type[nn.Module] | Callable[[nn.Module], bool]) -> Iterator[list[Any]]:
    """Within ``with capture(model, kind) as outputs``, every call of such a module by this thread puts its output at the end.

    ``kind`` is a class, or a function that says of a module whether it is meant. Outputs are kept as they are, not detached. A module that
    is called twice gives two.

    Raises:
        ValueError: the model has no such module, or is a compiled one, which calls no hooks.
    """
    if hasattr(model, "_orig_mod"):
        raise ValueError("model must not be compiled: compiled code calls no hooks; give what it was compiled from")
    modules = [m for m in model.modules() if (isinstance(m, kind) if isinstance(kind, type) else kind(m))]
    if not modules:
        named = getattr(kind, "__name__", repr(kind))
        raise ValueError(f"kind must be of modules in {type(model).__name__}, it has no {named}")
    outputs: list[Any] = []
    keep = in_this_thread(lambda _, __, output: outputs.append(output))
    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
