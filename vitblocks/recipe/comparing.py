"""Where two models are composed otherwise, whatever their weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from .describing import OPAQUE, attributes_of, plain
from .torch_nn import CONTAINERS, NAME_OF, torch_arguments
from .tree import Tree, join

_NO_MATTER = {"image_size", "img_size", "grid", "p", "rate", "inplace", "momentum"}
"""What is no other function of the same weights in evaluation, or shows in the shapes of weights."""

_RESIZED = {"window", "windows", "size", "shift", "padding"}
"""What may differ besides where weights are resized."""


def differences(model: nn.Module, other: nn.Module, *, resize: bool = False) -> list[str]:
    """What is another module, or has other settings, in ``other`` than in ``model``: a line each.

    Rates of dropout are no matter, nor is the size of the image that a model was made for; with ``resize`` neither are windows.
    """
    skipped = _NO_MATTER | (_RESIZED if resize else set())
    ours, theirs = Tree(model), Tree(other)
    found: list[str] = []
    waiting = [""]
    while waiting:
        path = waiting.pop()
        mine, its = ours.modules[path], theirs.modules[path]
        if not _alike(mine, its):
            found.append(f"{path or 'the model'} is a {type(mine).__name__} here, a {type(its).__name__} there")
            continue
        settings, others = _settings(mine), _settings(its)
        for name in settings.keys() & others.keys():
            if name not in skipped and "drop" not in name and settings[name] != others[name]:
                where = f"{path or 'the model'} ({type(mine).__name__})"
                found.append(f"{where}: {name} is {_said(settings[name])} here, {_said(others[name])} there")
        inner, outer = ours.children(path), theirs.children(path)
        found += [
            f"{join(path, name)} is only here" for name in inner if name not in outer and not _nothing(ours, path, name)
        ]
        found += [
            f"{join(path, name)} is only there"
            for name in outer
            if name not in inner and not _nothing(theirs, path, name)
        ]
        waiting += [join(path, name) for name in reversed(inner) if name in outer]
    return sorted(set(found), key=found.index)


def _alike(mine: nn.Module, its: nn.Module) -> bool:
    """Whether both run the same code: a class that only composes is as good as the one it is built on."""
    one, two = type(mine), type(its)
    related = issubclass(one, two) or issubclass(two, one)
    return one is two or (related and one.forward is two.forward) or {one, two} <= {nn.Dropout, nn.Identity}


def _settings(module: nn.Module) -> dict[str, Any]:
    listed = NAME_OF.get(type(module), "") not in ("", *CONTAINERS)
    found = torch_arguments(module) if listed else attributes_of(module)
    data = {name: plain(value) for name, value in found.items()}
    return {name: value for name, value in data.items() if value is not OPAQUE}


def _nothing(tree: Tree, path: str, name: str) -> bool:
    """Whether a module does nothing in evaluation, so that it may as well not be there."""
    return isinstance(tree.modules[join(path, name)], (nn.Identity, nn.Dropout))


def _said(data: Any) -> str:
    from .expressing import express, text

    return text(express(data))
