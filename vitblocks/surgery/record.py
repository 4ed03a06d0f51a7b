"""Swaps as plain data, kept with the model and its weights, and made again from it.

A record is ``{"family": name, "layers": {layer: {"class": path, "options": {...}}}}``. Options are what JSON has, and classes, functions,
partials, dataclasses and modules as dictionaries. What cannot be written so is said in place of the options: ``{"class": path,
"undescribed": why}``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import partial, singledispatch
from importlib import import_module
from inspect import Parameter, signature
from types import FunctionType
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..position import DynamicBias
from .family import Options
from .ledger import shapes

Record: TypeAlias = dict[str, Any]


class Undescribed(ValueError):
    """A value that cannot be written as plain data."""


def swaps_of(model: nn.Module) -> list[Record]:
    """The records of all swaps made in a model or inside it, layers named as the model names them."""
    return [
        record | {"layers": {f"{name}.{layer}" if name else layer: new for layer, new in record["layers"].items()}}
        for name, module in model.named_modules()
        for record in vars(module).get("swaps", [])
    ]


def keep(model: nn.Module, record: Record) -> None:
    vars(model).setdefault("swaps", []).append(record)


def forget(model: nn.Module, record: Record) -> None:
    left = [other for other in vars(model).get("swaps", []) if other is not record]
    vars(model).pop("swaps", None)
    if left:
        vars(model)["swaps"] = left


def describe_layer(kind: type[nn.Module], options: Options | None) -> Record:
    """A layer by its class and the options it was made with; None where a function made it."""
    try:
        if options is None:
            raise Undescribed("it was made by a function")
        return {"class": path_of(kind), "options": {name: describe(value) for name, value in options.items()}}
    except Undescribed as error:
        return {"class": f"{kind.__module__}.{kind.__qualname__}", "undescribed": str(error)}


def path_of(named: type | FunctionType) -> str:
    path = f"{named.__module__}.{named.__qualname__}"
    if "<" in path:
        raise Undescribed(f"{path} has no name of its own to be imported by")
    return path


def describe(value: Any) -> Any:
    """A value as plain data.

    Raises:
        Undescribed: there is no such form for it.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, (type, FunctionType)):
        return {"name": path_of(value)}
    if isinstance(value, partial) and not value.args:
        return {"partial": describe(value.func), "options": {name: describe(v) for name, v in value.keywords.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        options = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
        return {"class": path_of(type(value)), "options": options}
    if isinstance(value, nn.Module):
        return describe_module(value)
    raise Undescribed(f"an option is a {type(value).__name__}, {value!r}")


def describe_module(module: nn.Module) -> Record:
    """A module by the arguments that make one which looks the same: of the same representation, with tensors of the same shapes."""
    kind = type(module)
    found = {"class": path_of(kind), "options": {name: describe(value) for name, value in arguments(module).items()}}
    try:
        twin = build(found)
    except Exception as error:
        raise Undescribed(f"the arguments of a {kind.__name__} cannot be told from it") from error
    if repr(twin) != repr(module) or shapes(twin) != shapes(module):
        raise Undescribed(f"the arguments of a {kind.__name__} cannot be told from it")
    return found


@singledispatch
def arguments(module: nn.Module) -> Options:
    """What a module's class was called with, as far as it keeps it under the same name."""
    found: Options = {}
    for name, parameter in signature(type(module)).parameters.items():
        if hasattr(module, name) and parameter.kind is not Parameter.VAR_KEYWORD:
            value = getattr(module, name)
            # A bias that is there answers to bias=True, a Dropout to its rate.
            found[name] = value is not None if name == "bias" else value.p if isinstance(value, nn.Dropout) else value
    return {name: value for name, value in found.items() if not isinstance(value, Tensor)}


@arguments.register
def _(module: DynamicBias) -> Options:
    return {"heads": module.heads, "mlp_dim": module.fc.out_features}


def build(description: Any) -> Any:
    """The value that :func:`describe` described.

    Raises:
        ValueError: it names something that may not be made from a file.
    """
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    if not isinstance(description, dict):
        return description
    options = {name: build(value) for name, value in description.get("options", {}).items()}
    if "partial" in description:
        return partial(build(description["partial"]), **options)
    found = resolve(description.get("name") or description["class"])
    return found if "name" in description else found(**options)


def resolve(path: str) -> Any:
    """What a path names: of vitblocks, of torch.nn, or a module class of a package that is imported already.

    A file must not make us import or call anything else.

    Raises:
        ValueError: it is none of these.
    """
    home, _, name = path.rpartition(".")
    if home.startswith(("vitblocks.", "torch.nn.modules.")):
        try:
            import_module(home)
        except ImportError as error:
            raise ValueError(f"this version of vitblocks has no {path}") from error
    found = getattr(sys.modules.get(home), name, None)
    ours = home.startswith("vitblocks.") and isinstance(found, (type, FunctionType))
    if not ours and not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"{path} is no module class that is imported: import it, or make the swap yourself, before loading"
        )
    return found


def undescribed(records: Iterable[Record]) -> list[str]:
    """The layers that cannot be made again, each with the reason."""
    return [
        f"{name} ({new['class']}: {new['undescribed']})"
        for record in records
        for name, new in record["layers"].items()
        if "undescribed" in new
    ]
