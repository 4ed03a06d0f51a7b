"""Arguments as plain data.

None, bools, ints, strings, finite floats and lists are themselves. The rest is a dictionary with one telling key::

    {"tuple": [...]}  {"dict": {...}}  {"float": "inf"}  {"dtype": "bfloat16"}
    {"name": "LayerNorm"}                        a class or a function
    {"partial": "LayerNorm", "args": {...}}      functools.partial
    {"class": "Windows", "args": {...}}          an instance

Names are those of registered parts, or ``nn.GELU`` for a listed class of torch.nn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import Parameter, signature
from types import FunctionType
from typing import Any

import torch
from torch import nn

from .torch_nn import NAME_OF

PARTS: dict[str, Any] = {}
"""Registered classes and functions by their names."""


NOTE = "_recipe"
"""The attribute of an instance that holds the call it was made by."""


class Undescribed(ValueError):
    """A value that has no form as plain data."""


def path_of(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def note_of(value: Any) -> dict[str, Any] | None:
    """The call that made an instance of a part; None for anything else."""
    return vars(value).get(NOTE) if hasattr(value, "__dict__") else None


def is_tuple_class(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def is_registered(named: Any) -> bool:
    known = PARTS.get(getattr(named, "__name__", ""))
    return known is not None and path_of(known) == path_of(named)


def name_of(named: Any) -> str:
    """The name under which a class or a function is found again.

    Raises:
        Undescribed: it has none.
    """
    if isinstance(named, type) and named in NAME_OF:
        return NAME_OF[named]
    if is_registered(named):
        return str(named.__name__)
    if not isinstance(named, (type, FunctionType)):
        said = re.sub(" at 0x[0-9a-f]+", "", repr(named))  # the same for two models of the same arguments
        raise Undescribed(f"{said} has no name to be found by; give a class or a function registered with @part")
    if "<lambda>" in named.__qualname__:
        raise Undescribed("a lambda has no name to be found by; give a class or a function registered with @part")
    if isinstance(named, FunctionType) and "<locals>" in named.__qualname__:
        raise Undescribed(f"{path_of(named)} is a function in a function; give one registered with @part")
    raise Undescribed(f"{path_of(named)} is no part; register it with @part")


def encode(value: Any, module: Callable[[nn.Module], Any]) -> Any:
    """A value as plain data, which shares nothing with it.

    Args:
        module: what to write for an ``nn.Module``.

    Raises:
        Undescribed: there is no such form.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [encode(item, module) for item in value]
    if isinstance(value, tuple) and not is_tuple_class(type(value)):
        return {"tuple": [encode(item, module) for item in value]}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise Undescribed(f"a dictionary with the key {wrong[0]!r}, which is no string")
        return {"dict": {str(key): encode(item, module) for key, item in value.items()}}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, nn.Module):
        return module(value)
    if isinstance(value, (type, FunctionType)):
        return {"name": name_of(value)}
    if isinstance(value, partial):
        return _encode_partial(value, module)
    return _encode_instance(value, module)


def _encode_partial(value: partial[Any], module: Callable[[nn.Module], Any]) -> dict[str, Any]:
    name, parameters = name_of(value.func), list(signature(value.func).parameters.values())
    positional = [p.name for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if len(value.args) > len(positional):
        raise Undescribed(f"a partial of {name} with positional arguments that have no name")
    given = {**dict(zip(positional, value.args, strict=False)), **value.keywords}
    return {"partial": name, "args": {key: encode(item, module) for key, item in given.items()}}


def _encode_instance(value: Any, module: Callable[[nn.Module], Any]) -> dict[str, Any]:
    kind = type(value)
    if not is_registered(kind):
        raise Undescribed(f"a {path_of(kind)} is no part; register its class with @part")
    if is_dataclass(value):
        given = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    elif is_tuple_class(kind):
        given = value._asdict()
    elif (note := note_of(value)) is not None:
        return deepcopy(note)
    else:
        raise Undescribed(f"this {path_of(kind)} was made before its class was registered")
    return {"class": kind.__name__, "args": {key: encode(item, module) for key, item in given.items()}}
