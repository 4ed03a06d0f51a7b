"""Modules in the places of others, as written files have it; :func:`build` does the same with checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

ABSENT = object()
"""What stands for a module that was taken away."""


def changed(module: nn.Module, changes: Mapping[str, Any], shared: Mapping[str, str] | None = None) -> Any:
    """Put modules in the places of those that a constructor made, and make those of ``shared`` one and the same."""
    for path, new in changes.items():
        owner, _, name = path.rpartition(".")
        if new is ABSENT:
            delattr(module.get_submodule(owner), name)
        else:
            setattr(module.get_submodule(owner), name, new)
    for path, first in (shared or {}).items():
        (owner, _, name), (home, _, key) = path.rpartition("."), first.rpartition(".")
        setattr(module.get_submodule(owner), name, getattr(module.get_submodule(home), key))
    return module
