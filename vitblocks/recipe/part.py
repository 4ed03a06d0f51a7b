"""Parts: classes and functions under a name, and instances that know what call made them.

A call is noted as plain data, ``{"class": name, "args": {...}}`` (see :mod:`.values`). A finished module among the arguments is noted as
``{"child": path}``, where the new module holds it, so that it can be described as it is later. The note is an attribute of the instance:
it is copied, pickled and moved with it, and is no part of its state_dict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache, wraps
from inspect import BoundArguments, Parameter, Signature, signature
from types import FunctionType, GeneratorType
from typing import Any, TypeVar

from torch import nn

from ..borders import guard
from ..checks import check_words
from .values import NOTE, PARTS, Undescribed, encode, is_tuple_class, note_of, path_of

T = TypeVar("T")


def part(what: T, /) -> T:
    """Register a class or a function as a part, so that models that hold it can be described, saved and built again.

    ::

        @part
        class NeighbourMean(nn.Module): ...

    The class stays what it is: its instances note the arguments they are made with, nothing else changes. (Parts of this package have
    their arguments checked besides, see :mod:`vitblocks.checks` and :mod:`vitblocks.borders`.) A dataclass and a named tuple
    are known by their fields. A function is registered to be given as an argument, such as ``norm=`` or ``regions=``; it is what a
    description read from a file may call, so it must do no harm whatever its arguments.

    Raises:
        TypeError: it is neither a class nor a function at the top of a module.
        ValueError: another part has this name. Defining the same one again, as in a notebook, is no clash.
    """
    if not isinstance(what, (type, FunctionType)):
        raise TypeError(f"a part is a class or a function, got {what!r}")
    if isinstance(what, FunctionType) and "<" in what.__qualname__:
        raise TypeError(
            f"a part must be found by its name, but {path_of(what)} is a lambda or a function in a function"
        )
    name = what.__name__
    other = PARTS.get(name)
    if other is not None and path_of(other) != path_of(what):
        raise ValueError(
            f"two parts would be called {name!r}: {path_of(other)} and {path_of(what)}; rename one of them"
        )
    PARTS[name] = what
    if isinstance(what, type) and not is_dataclass(what) and not is_tuple_class(what):
        _note_calls(what)
        if _is_ours(what) and issubclass(what, nn.Module):
            guard(what)
    return what


def list_parts() -> dict[str, Any]:
    """Every registered class and function by its name, sorted."""
    return {name: PARTS[name] for name in sorted(PARTS)}


def noted_as(instance: Any, kind: type, **args: Any) -> None:
    """Note that an instance was changed in place to what other arguments make, or another class with the same ones.

    For code that makes one model of another without building it anew. :func:`describe` checks that it is so.
    """
    note = note_of(instance)
    if note is not None:
        defaults = _defaults(kind)
        now = note["args"] | {name: _note(value, []) for name, value in args.items()}
        first = [name for name in signature_of(kind).parameters if name in now]
        ordered = {name: now[name] for name in (*first, *now)}
        kept = {name: data for name, data in ordered.items() if name not in defaults or data != defaults[name]}
        object.__setattr__(instance, NOTE, {"class": kind.__name__, "args": kept})


def _note_calls(cls: Any) -> None:
    """Let the constructor note its arguments, where it is that of the instance's own class and not a base's."""
    own = vars(cls).get("__init__")
    defaults = _defaults(cls)
    checked = _is_ours(cls)

    @wraps(_written_constructor(cls))
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        start = own.__get__(self, cls) if own is not None else super(cls, self).__init__
        bound = _bind(cls, args, kwargs)
        if bound is not None and checked:
            check_words(arguments(bound))
        if bound is None or type(self) is not cls:
            start(*args, **kwargs)
            return
        given: list[tuple[nn.Module, dict[str, Any]]] = []
        noted = {name: _note(value, given) for name, value in arguments(bound).items()}
        noted = {name: data for name, data in noted.items() if name not in defaults or data != defaults[name]}
        start(*bound.args, **bound.kwargs)
        _place(self, given)
        object.__setattr__(self, NOTE, {"class": cls.__name__, "args": noted})

    vars(__init__)["passes_on"] = own is None
    cls.__init__ = __init__


def _is_ours(cls: type) -> bool:
    """Whether the words of this package mean in a class what they mean here."""
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


def _written_constructor(cls: type) -> Any:
    """The constructor that a class has or inherits, and not one that only notes and passes on."""
    constructors = (vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base))
    return next(constructor for constructor in constructors if not getattr(constructor, "passes_on", False))


def _defaults(cls: type) -> dict[str, Any]:
    """The defaults of a constructor as plain data, as far as there is some: an argument that is one goes without saying."""
    parameters = signature(cls).parameters.values()
    found = {p.name: _note(p.default, []) for p in parameters if p.default is not Parameter.empty}
    return {name: data for name, data in found.items() if not isinstance(data, dict) or "refused" not in data}


@cache
def signature_of(what: Any) -> Signature:
    return signature(what)


def _bind(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundArguments | None:
    """The arguments by name, generators drawn into lists; None where they do not fit, which the constructor itself will say."""
    try:
        bound = signature_of(cls).bind(*args, **kwargs)
    except TypeError:
        return None
    for name, value in bound.arguments.items():
        if isinstance(value, GeneratorType):
            bound.arguments[name] = list(value)
    return bound


def arguments(bound: BoundArguments) -> dict[str, Any]:
    """Arguments by name; those of ``**options`` under their own, those of ``*layers`` together as ``"*layers"``."""
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is Parameter.VAR_KEYWORD:
            found.update(value)
        elif kind is Parameter.VAR_POSITIONAL:
            found[f"*{name}"] = list(value)
        else:
            found[name] = value
    return found


def _note(value: Any, given: list[tuple[nn.Module, dict[str, Any]]]) -> Any:
    """An argument as plain data, its modules as empty dictionaries that are filled when it is known where they went."""

    def hold(module: nn.Module) -> dict[str, Any]:
        place: dict[str, Any] = {}
        given.append((module, place))
        return place

    count = len(given)
    try:
        return encode(value, hold)
    except Undescribed as error:
        del given[count:]
        return {"refused": str(error)}


def _place(owner: Any, given: list[tuple[nn.Module, dict[str, Any]]]) -> None:
    """Say of each module that was given where the owner holds it, or what it is where the owner does not."""
    wanted = {id(module) for module, _ in given}
    found: dict[int, str] = {}
    for name, module in _inside(owner):
        if id(module) in wanted:
            found.setdefault(id(module), name)
            if len(found) == len(wanted):
                break
    for module, place in given:
        place.update({"child": found[id(module)]} if id(module) in found else _described(module))


def _inside(owner: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(owner, nn.Module):
        yield from ((name, module) for name, module in owner.named_modules() if name)


def _described(module: nn.Module) -> dict[str, Any]:
    from .describing import describe

    try:
        return describe(module)
    except ValueError as error:
        return {"refused": str(error)}
