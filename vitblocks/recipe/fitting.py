"""Whether a value is what an annotation says, as far as that can be told from the value."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, is_typeddict

from .part import signature_of

_NUMBERS: dict[type, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}


def misfit(what: Any, args: Mapping[str, Any]) -> str | None:
    """The first argument that is not what the signature of a class or function says, in words; None if all are."""
    hints = hints_of(what)
    for name, value in args.items():
        hint = hints.get(name, Any)
        if name.startswith("*"):
            hint = Sequence[hints.get(name[1:], Any)]  # type: ignore[misc]
        if not fits(value, hint):
            return f"{name} must be {_said(hint)}, got {value!r}"
    return None


@cache
def hints_of(what: Any) -> dict[str, Any]:
    """The annotations of the arguments; those of a typed ``**options`` one by one. What cannot be evaluated is left out."""
    function = getattr(what, "__init__") if isinstance(what, type) else what  # noqa: B009
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names that are imported for type checkers alone
        return {}
    found = {}
    for name, parameter in signature_of(what).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is Parameter.VAR_KEYWORD and is_typeddict(next(iter(get_args(hint)), None)):
            found.update(typing.get_type_hints(get_args(hint)[0]))
        else:
            found[name] = hint
    return found


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says, and no NaN where a number is wanted; True where that cannot be told."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is NoneType:
        return value is None
    if hint in _NUMBERS:
        if isinstance(value, float) and math.isnan(value):
            return False
        return isinstance(value, _NUMBERS[hint]) and (hint is bool or not isinstance(value, bool))
    if origin in (typing.Union, UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin is tuple and Ellipsis not in args:
        return _is_list(value) and len(value) == len(args) and all(map(fits, value, args))
    if origin in (list, tuple, Sequence, Iterable):
        return _is_list(value) and all(fits(item, args[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(fits(item, args[1]) for item in value.values())
    if origin is Callable or hint is Callable:
        return callable(value)
    if origin is type:
        return isinstance(value, type) and (not isinstance(args[0], type) or issubclass(value, args[0]))
    if is_typeddict(hint):
        return isinstance(value, dict)
    if isinstance(hint, type) and hint is not Any:
        return _is_instance(value, hint)
    return True


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_instance(value: Any, kind: type) -> bool:
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, (type(None), bool, int, float, str, list, tuple, dict, type))
    return isinstance(value, kind)


def _said(hint: Any) -> str:
    if isinstance(hint, TypeVar):
        return str(hint)
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
