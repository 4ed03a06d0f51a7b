"""What a family of layers has to say so that its members can take one another's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, TypeAlias

from torch import nn

from .ledger import Ledger

Options: TypeAlias = dict[str, Any]
Call: TypeAlias = tuple[Any, ...]
"""What a layer was called with, tensors as their shapes: ``((1, N, C), grid)``."""


def nobody(model: nn.Module) -> set[int]:
    """Leave none out."""
    return set()


def as_given(old: Any, kind: type[nn.Module], options: Options, call: Call | None) -> Options:
    """No settings but those of the caller."""
    return options


@dataclass(frozen=True)
class Family:
    """Layers that can take one another's place, and how their weights go over.

    Attributes:
        name: what :func:`~vitblocks.surgery.swap` calls it; families of one name are told apart by what is swapped in.
        title: with its article, for messages.
        kinds: the classes that belong to it, with their subclasses.
        carry: fill a fresh ``new`` with what it has in common with ``old``, bring the rest to where it changes least, and tell which
            is which: ``(old, new, options) -> Ledger``. Called without gradients.
        make: ``(old, kind, options) -> new``.
        complete: the options with what only ``old`` or its call can tell, so that the same layer can be made again without them:
            ``(old, kind, options, call) -> options``.
        left_alone: the ids of modules of a model that belong to it and are not to be replaced.
        not_layers: classes of the family that are none of its layers.
        base: what a function ``old -> new`` has to return.
    """

    name: str
    title: str
    kinds: tuple[type[nn.Module], ...]
    carry: Callable[[Any, Any, Options], Ledger]
    make: Callable[[Any, type[Any], Options], nn.Module] = lambda old, kind, options: kind(**options)
    complete: Callable[[Any, type[Any], Options, Call | None], Options] = as_given
    left_alone: Callable[[nn.Module], set[int]] = nobody
    not_layers: Callable[[type[nn.Module]], bool] = lambda kind: False
    base: type[nn.Module] = nn.Module

    def takes(self, kind: type) -> bool:
        """Whether a class is one of the family's layers."""
        return issubclass(kind, self.kinds) and not self.not_layers(kind)


def keywords(kind: type) -> set[str]:
    """The arguments a class takes by name: its own, and those of its bases as long as ``**options`` passes them on."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)}
        if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def taken(kind: type, settings: Options, options: Options) -> Options:
    """The settings that a class takes and that are known; ``options`` go first."""
    names = keywords(kind)
    return {name: value for name, value in settings.items() if name in names and value is not None} | options


def tokens_of(call: Call | None) -> tuple[int, int] | None:
    """How many tokens of how many channels a layer was called with."""
    return None if call is None else (call[0][1], call[0][2])
