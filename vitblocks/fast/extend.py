"""Another way to call a module, by its class: parameters, hooks, optimizers and ``state_dict`` know nothing of it.

A class that stands for a plain one names it: ``vars(kind)["plain"]``. What describes or saves a model looks through by
:func:`plain_type`.
"""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import TYPE_CHECKING, Any

from torch import nn


class Extension:
    """What may stand before the class of any module: its ``forward`` ends in ``super().forward``. Copies and pickles keep it."""

    prefix = ""
    """Of the name of the class that is made."""

    if TYPE_CHECKING:

        def forward(self, *args: Any, **kwargs: Any) -> Any: ...

    @classmethod
    def leave(cls, module: nn.Module) -> None:
        """Called when it is taken off a module, to let go of what it keeps for it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made when it is asked for, so a pickle cannot find it by its name.
        reduced: Any = super().__reduce_ex__(protocol)
        return _blank, split(type(self)), *reduced[2:]  # type: ignore[arg-type]


Extensions = tuple[type[Extension], ...]


def _blank(base: type[nn.Module], extensions: Extensions) -> nn.Module:
    kind = extended(base, extensions)
    return kind.__new__(kind)


_MADE: dict[tuple[Any, Extensions], type[nn.Module]] = {}


def extended(base: type[nn.Module], extensions: Extensions) -> type[nn.Module]:
    """``base`` with these before it, the first called first; itself if there are none. The same class each time."""
    if not extensions:
        return base
    if (base, extensions) not in _MADE:
        _MADE[base, extensions] = _make(base, extensions)
    return _MADE[base, extensions]


def _make(base: type[nn.Module], extensions: Extensions) -> type[nn.Module]:
    first = extensions[0].forward
    assert isinstance(first, FunctionType)
    # A copy, to say what the plain forward takes: exporters go by the names of its arguments.
    forward = FunctionType(first.__code__, first.__globals__, first.__name__, first.__defaults__, first.__closure__)
    forward.__kwdefaults__ = first.__kwdefaults__
    forward.__signature__ = inspect.signature(base.forward)  # type: ignore[attr-defined]
    content = {"plain": base, "extensions": extensions, "forward": forward}
    content |= {"__module__": base.__module__, "__doc__": base.__doc__}
    name = "".join(extension.prefix for extension in extensions) + base.__name__
    return type(name, (*extensions, base), content)


def split(kind: type[nn.Module]) -> tuple[type[nn.Module], Extensions]:
    """A class as what :func:`extended` made it of."""
    own = vars(kind)
    return (own["plain"], own["extensions"]) if "extensions" in own else (kind, ())


def plain_type(kind: type[nn.Module]) -> type[nn.Module]:
    """The class that this one stands for, which is itself unless a pass made or set it."""
    while isinstance(plain := vars(kind).get("plain"), type):
        kind = plain
    return kind


def extend(module: nn.Module, extension: type[Extension]) -> None:
    base, extensions = split(type(module))
    module.__class__ = extended(base, (extension, *extensions))


def retract(module: nn.Module, extension: type[Extension]) -> None:
    """Take it off again, if it is on, and leave the others."""
    base, extensions = split(type(module))
    if extension in extensions:
        extension.leave(module)
    module.__class__ = extended(base, tuple(other for other in extensions if other is not extension))


def exchange(module: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> None:
    """The class below the extensions, if it is the old one."""
    base, extensions = split(type(module))
    if base is old:
        module.__class__ = extended(new, extensions)


def undo(model: nn.Module) -> None:
    """Take every pass back: also of a copy or a loaded model, of which no report is at hand."""
    for module in model.modules():
        for extension in split(type(module))[1]:
            extension.leave(module)
        module.__class__ = plain_type(type(module))
