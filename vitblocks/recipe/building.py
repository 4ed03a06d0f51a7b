"""Models from descriptions, which may come from a file of anybody's.

Only registered parts and the listed classes of torch.nn are made, nothing is imported, and nothing is evaluated. Everything is made on
the meta device first, where no memory is taken, and counted as it is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import Parameter
from typing import Any

import torch
from torch import nn

from .fitting import misfit
from .limits import Limits, check_size, counting, show
from .part import signature_of
from .torch_nn import CLASSES, CONTAINERS
from .tree import Tree
from .values import PARTS, is_tuple_class

_KEYS = ("tuple", "dict", "float", "dtype", "name", "partial", "class")
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def build(description: Mapping[str, Any], *, limits: Limits | None = None) -> nn.Module:
    """The model that :func:`describe` described, with fresh weights.

    It may be read from a file that is not trusted: see :class:`Limits` for how much it may ask for. Parts of one's own must be
    registered, that is imported, before.

    Raises:
        ValueError: it is no description, names something that is no part here, gives arguments that a part does not take, or asks for
            too much; the message names the place. No memory was taken then.
    """
    limits = Limits() if limits is None else limits
    if not isinstance(description, Mapping):
        raise ValueError(f"a description is a dictionary, got a {type(description).__name__}")
    check_size(description, limits)
    with torch.device("meta"), counting(limits):
        model = make(description, limits)
    if torch.get_default_device().type == "meta":
        return model
    with counting(limits):
        return make(description, limits)


def build_value(data: Any, limits: Limits) -> Any:
    """What plain data stands for, be it no module. Nothing is counted: see :func:`counting`.

    Raises:
        ValueError: as :func:`build`.
    """
    return _value(data, "", limits)


def make(description: Mapping[str, Any], limits: Limits | None = None) -> nn.Module:
    """The described module on the default device, nothing counted. Errors: see :func:`build`."""
    module = _value(description, "", limits or Limits())
    if not isinstance(module, nn.Module):
        raise ValueError(f"a description of a model is wanted, this one is of a {type(module).__name__}")
    return module


def _value(data: Any, place: str, limits: Limits) -> Any:
    """What plain data stands for."""
    if isinstance(data, list):
        return [_value(item, f"{place}[{i}]", limits) for i, item in enumerate(data)]
    if not isinstance(data, Mapping):
        return data
    keys = [key for key in _KEYS if key in data]
    allowed = {"partial": {"args"}, "class": {"args", "changed", "shared"}}
    if len(keys) != 1 or data.keys() - {keys[0]} - allowed.get(keys[0], set()):
        raise ValueError(
            f"{show(place)}: must have one of the keys {', '.join(_KEYS)}, got {', '.join(map(repr, data))}"
        )
    (key,) = keys
    content = data[key]
    if key == "tuple":
        return tuple(_value(_typed(content, list, place, key), place, limits))
    if key == "dict":
        return {k: _value(v, f"{place}.{k}", limits) for k, v in _typed(content, Mapping, place, key).items()}
    if key == "float":
        return _of(_FLOATS, content, place, "float")
    if key == "dtype":
        found = getattr(torch, _typed(content, str, place, key), None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"{show(place)}: there is no dtype {content!r}")
        return found
    named = _named(content, place)
    if key == "name":
        return named
    args = _typed(data.get("args", {}), Mapping, place, "args")
    if content in CONTAINERS:
        if key == "partial":
            raise ValueError(f"{show(place)}: no partial can be made of {content}")
        made = _container(named, args, place, limits)
    else:
        given = {name: _value(item, f"{place}.{name}", limits) for name, item in args.items()}
        if key == "partial":
            return _partial(named, given, place, content)
        made = _instance(named, given, place, content)
    if isinstance(made, nn.Module):
        _change(made, _typed(data.get("changed", {}), Mapping, place, "changed"), place, limits)
        _share(made, _typed(data.get("shared", {}), Mapping, place, "shared"), place, limits)
    return made


def _typed(value: Any, kind: Any, place: str, key: str) -> Any:
    if not isinstance(value, kind):
        wanted = "a dictionary" if kind is Mapping else f"a {kind.__name__}"
        raise ValueError(f"{show(place)}: {key!r} must hold {wanted}, got {value!r:.80}")
    return value


def _of(table: Mapping[str, Any], name: Any, place: str, what: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{show(place)}: {name!r:.80} is no {what} that is known here")
    return table[name]


def _named(name: Any, place: str) -> Any:
    if isinstance(name, str) and name in CLASSES:
        return CLASSES[name]
    return _of(PARTS, name, place, "registered part or listed class of torch.nn")


def _instance(named: Any, given: dict[str, Any], place: str, name: str) -> Any:
    if not isinstance(named, type):
        raise ValueError(f"{show(place)}: {name} is a function, not a class")
    if is_tuple_class(named) and not given.keys() <= set(getattr(named, "_fields", ())):
        raise ValueError(f"{show(place)} ({name}): has no such fields, got {', '.join(given)}")
    with _naming(place, name):
        return _call(named, given)


def _partial(named: Any, given: dict[str, Any], place: str, name: str) -> Any:
    if error := misfit(named, given) or _unknown(named, given):
        raise ValueError(f"{show(place)} (partial of {name}): {error}")
    return partial(named, **given)


def _unknown(named: Any, given: Mapping[str, Any]) -> str | None:
    """An argument that is not taken by its name, in words."""
    parameters = signature_of(named).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    taken = [p.name for p in parameters.values() if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    unknown = next((name for name in given if name not in taken), None)
    return unknown and f"takes no argument {unknown!r}, only {', '.join(taken) or 'none'}"


def _call(named: Any, given: dict[str, Any]) -> Any:
    """Call a class with arguments by name; those of ``*layers`` come together as ``"*layers"``."""
    if error := misfit(named, given):
        raise ValueError(error)
    many = [name for name in given if name.startswith("*")]
    parameters = list(signature_of(named).parameters.values())
    if not many:
        if error := _unknown(named, given):
            raise ValueError(error)
        return named(**given)
    known = [f"*{p.name}" for p in parameters if p.kind is Parameter.VAR_POSITIONAL]
    if many != known or not isinstance(given[many[0]], list):
        raise ValueError(f"takes no argument {many[0]!r}")
    first = [p.name for p in parameters if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    missing = [name for name in first if name not in given]
    if missing:
        raise ValueError(f"misses the argument {missing[0]!r}")
    rest = {name: value for name, value in given.items() if name not in first and name != many[0]}
    return named(*(given[name] for name in first), *given[many[0]], **rest)


@contextmanager
def _naming(place: str, name: str) -> Iterator[None]:
    """Say where an error comes from, as a ValueError whatever it was."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{show(place)} ({name}): {error or type(error).__name__}") from error


def _container(named: Callable[[], Any], args: Mapping[str, Any], place: str, limits: Limits) -> nn.Module:
    made = named()
    for name, item in args.items():
        child = _value(item, f"{place}.{name}", limits)
        if not isinstance(child, nn.Module):
            raise ValueError(f"{show(place)}.{name}: a module is wanted, got a {type(child).__name__}")
        with _naming(place, type(made).__name__):
            made.add_module(name, child)
    return made


def _owner(module: nn.Module, path: str, place: str) -> tuple[nn.Module, str]:
    """The module that holds what lies at a path, and its name there."""
    if not isinstance(path, str):
        raise ValueError(f"{show(place)}: {path!r} is no path")
    above, _, name = path.rpartition(".")
    try:
        return module.get_submodule(above), name
    except AttributeError:
        raise ValueError(f"{show(place)}: there is no module {above!r:.80} to hold {name!r:.80}") from None


def _change(module: nn.Module, changed: Mapping[str, Any], place: str, limits: Limits) -> None:
    """Put other modules in the places of those that a constructor made, or take them away."""
    for path, data in changed.items():
        inner = f"{place}.changed[{path}]"
        owner, name = _owner(module, path, inner)
        before = getattr(owner, name, None)
        if not name or (before is not None and not isinstance(before, nn.Module)) or (hasattr(type(owner), name)):
            raise ValueError(f"{show(inner)}: a {type(owner).__name__} holds no module there")
        if isinstance(data, Mapping) and dict(data) == {"absent": True}:
            if before is None:
                raise ValueError(f"{show(inner)}: there is nothing to take away")
            delattr(owner, name)
            continue
        new = None if data is None else _value(data, inner, limits)
        if not isinstance(new, (nn.Module, type(None))):
            raise ValueError(f"{show(inner)}: a module is wanted, got a {type(new).__name__}")
        setattr(owner, name, new)


def _share(module: nn.Module, shared: Mapping[str, Any], place: str, limits: Limits) -> None:
    """Make modules and parameters in several places one and the same."""
    for path, first in shared.items():
        inner = f"{place}.shared[{path}]"
        (owner, name), (source, key) = _owner(module, path, inner), _owner(module, first, inner)
        one = getattr(source, key, None) if key else None
        other = getattr(owner, name, None) if name else None
        alike = (isinstance(one, nn.Parameter) and isinstance(other, nn.Parameter) and one.shape == other.shape) or (
            isinstance(one, nn.Module) and (isinstance(other, nn.Module) or (name and not hasattr(owner, name)))
        )
        if not alike:
            raise ValueError(f"{show(inner)}: it cannot be the same as {first!r:.80}")
        setattr(owner, name, one)
    if shared:
        with _naming(place, type(module).__name__):
            Tree(module, limits.modules)
