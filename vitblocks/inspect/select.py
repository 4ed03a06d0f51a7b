"""Which modules of a model are looked into: by name, pattern, place, class, or themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import nn

from ..attention import Attend
from .frames import named_parts, path

LayerChoice: TypeAlias = (
    "str | int | type[nn.Module] | nn.Module | slice | Sequence[str | int | type[nn.Module] | nn.Module]"
)
"""Layers by name or pattern, by place in the order of the model, by class, as modules; one, several, or a slice of the order."""

ModuleChoice: TypeAlias = str | type[nn.Module] | nn.Module | Sequence[str | type[nn.Module] | nn.Module]
"""Modules by name or pattern, by class, or themselves; one or several."""


def select_attends(model: nn.Module, layers: LayerChoice | None) -> dict[str, Attend]:
    """The Attends that ``layers`` names, with their names, in the model's order. Errors: see :func:`record_attention`."""
    parts = named_parts(model)
    attends = {name: module for name, module in parts.items() if isinstance(module, Attend)}
    if not attends:
        raise ValueError(
            f"model must have an Attend in it to record, {type(model).__name__} has none: transformers of other packages and exported or "
            "scripted models have none"
        )
    if layers is None:
        return attends
    names = list(attends)
    picked: set[str] = set()
    for choice in _choices(layers, len(names)):
        found = [name for i, name in enumerate(names) if _attend_matches(choice, i, len(names), name, parts)]
        if not found:
            raise ValueError(f"layers must name attentions of {type(model).__name__}, {choice!r} is none of {names}")
        picked.update(found)
    return {name: attends[name] for name in names if name in picked}


def _choices(layers: LayerChoice, count: int) -> Sequence[Any]:
    if isinstance(layers, slice):
        return range(count)[layers]
    return [layers] if isinstance(layers, (str, int, type, nn.Module)) else layers


def _attend_matches(choice: Any, place: int, count: int, name: str, parts: Mapping[str, nn.Module]) -> bool:
    names = path(name)
    holders = [parts[outer] for outer in names if outer in parts]
    if isinstance(choice, str):
        return any(fnmatchcase(outer, choice) for outer in names)
    if isinstance(choice, int):
        return -count <= choice < count and choice % count == place
    if isinstance(choice, type):
        return any(isinstance(holder, choice) for holder in holders)
    return any(holder is choice for holder in holders)


def select_modules(model: nn.Module, layers: ModuleChoice) -> dict[str, nn.Module]:
    """The modules that ``layers`` names, with their names, in the model's order. Errors: see :func:`extract`."""
    parts = named_parts(model)
    picked: set[str] = set()
    for choice in [layers] if isinstance(layers, (str, type, nn.Module)) else layers:
        found = [name for name, module in parts.items() if _module_matches(choice, name, module)]
        if not found:
            children = [name for name, _ in model.named_children()]
            raise ValueError(
                f"layers must name modules of {type(model).__name__}, {choice!r} names none; it begins with {children}"
            )
        picked.update(found)
    if not picked:
        raise ValueError(f"layers must name at least one module of {type(model).__name__}, got {layers!r}")
    return {name: module for name, module in parts.items() if name in picked}


def _module_matches(choice: Any, name: str, module: nn.Module) -> bool:
    if isinstance(choice, str):
        parts, patterns = name.split("."), choice.split(".")
        return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
    return isinstance(module, choice) if isinstance(choice, type) else module is choice
