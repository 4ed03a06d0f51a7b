"""Collect what modules of one class return, without a flag in any forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .frames import in_this_thread


@contextmanager
def capture(model: nn.Module, kind: type[nn.Module]) -> Iterator[list[Any]]:
    """Within ``with capture(model, kind) as outputs``, every call of a module of that class by this thread puts its output at the end.

    Outputs are kept as they are, not detached. A module that is called twice gives two.

    Raises:
        ValueError: the model has no module of that class, or is a compiled one, which calls no hooks.
    """
    if hasattr(model, "_orig_mod"):
        raise ValueError("model must not be compiled: compiled code calls no hooks; give what it was compiled from")
    modules = [module for module in model.modules() if isinstance(module, kind)]
    if not modules:
        raise ValueError(f"kind must be a class of modules in {type(model).__name__}, it has no {kind.__name__}")
    outputs: list[Any] = []
    keep = in_this_thread(lambda _, __, output: outputs.append(output))
    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
