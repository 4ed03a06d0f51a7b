"""Swaps as plain data, kept with the model and its weights, and made again from it.

A record is ``{"family": name, "layers": {layer: {"old": description, "new": description}}}``, as :func:`vitblocks.describe` gives them; in
place of one that cannot be described stands ``{"undescribed": why}``. Version 0.1 wrote ``{"class": path, "options": {...}}`` for a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeAlias

import torch
from torch import nn

from ..recipe import Limits, build, describe
from ..recipe.building import build_value
from ..recipe.limits import check_size, counting
from .family import Family

Record: TypeAlias = dict[str, Any]


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


def describe_layer(layer: nn.Module) -> Record:
    """A layer as plain data, or why there is none of it."""
    try:
        return describe(layer)
    except ValueError as error:
        return {"undescribed": str(error)}


def undescribed(records: Iterable[Record]) -> list[str]:
    """The layers that cannot be made again, each with the reason."""
    return [
        f"{name} ({new['undescribed']})"
        for record in records
        for name, layer in record["layers"].items()
        if "undescribed" in (new := layer.get("new", layer))
    ]


def check_records(records: Any) -> list[Record]:
    """Records that were read from a file.

    Raises:
        ValueError: they are none.
    """
    good = isinstance(records, list) and all(
        isinstance(record, dict)
        and isinstance(record.get("family"), str)
        and isinstance(record.get("layers"), dict)
        and record["layers"]
        and all(isinstance(layer, dict) for layer in record["layers"].values())
        for record in records
    )
    if not good:
        raise ValueError("the swaps must be a list of {'family': name, 'layers': {name: {...}}}")
    return records


def remade(layer: Record, old: nn.Module, families: list[Family]) -> tuple[Family, Callable[[Any], nn.Module]]:
    """The family of a swap, and what makes its new layer again.

    Raises:
        ValueError: ``old`` is not the layer that was swapped, or the new one is no layer that it can be swapped for.
    """
    description = layer["new"] if "new" in layer else _of_version_0_1(layer, old, families)
    was = layer.get("old", {"undescribed": ""})
    now = describe_layer(old)
    if "undescribed" not in was and "undescribed" not in now and was != now:
        raise ValueError(f"{_said(was)} was swapped, this is {_said(now)}")
    with torch.device("meta"):
        kind = type(build(description))
    fitting = [family for family in families if isinstance(old, family.base) and issubclass(kind, family.base)]
    if not fitting:
        raise ValueError(f"a {type(old).__name__} cannot be swapped for a {kind.__name__}")
    named = [family for family in fitting if family.takes(kind) or isinstance(old, family.kinds)]
    return (named or fitting)[0], lambda _: build(description)


def _said(description: Record) -> str:
    from ..recipe import expression

    return expression(description)


def _of_version_0_1(layer: Record, old: nn.Module, families: list[Family]) -> Record:
    """The description of a layer that is named by the path of its class, with the options of the swap."""
    if not isinstance(layer.get("class"), str) or not isinstance(layer.get("options"), dict):
        raise ValueError("a swapped layer must have a class and options, or what it was and is")
    limits = Limits()
    check_size(layer, limits)
    with torch.device("meta"), counting(limits):
        to = build_value({"name": _name(layer["class"])}, limits)
        options = {option: build_value(_value(value), limits) for option, value in layer["options"].items()}
        for family in families:
            if isinstance(to, type) and family.takes(to) and isinstance(old, family.base):
                return describe(family.make(deepcopy(old).to("meta"), to, options))
    raise ValueError(f"a {type(old).__name__} cannot be swapped for {layer['class']}")


def _name(path: Any) -> str:
    """The name that a part has now, from the path that version 0.1 wrote."""
    home, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
    if home.startswith("torch.nn.modules."):
        return f"nn.{name}"
    # LayerNorm and RMSNorm were PyTorch's then, Linear was this package's.
    return {"Linear": "nn.Linear", "DepthwiseConv2d": "nn.Conv2d"}.get(name, name)


def _value(value: Any) -> Any:
    """An option as version 0.1 wrote it, as a description has it now."""
    if isinstance(value, list):
        return {"tuple": [_value(item) for item in value]}
    if not isinstance(value, Mapping):
        return value
    options = value.get("options", {})
    if not isinstance(options, Mapping):
        raise ValueError(f"options must be a dictionary, got {options!r:.80}")
    args = {name: _value(item) for name, item in options.items()}
    if "partial" in value:
        inner = value["partial"]
        return {"partial": _name(inner.get("name") if isinstance(inner, Mapping) else None), "args": args}
    return {"name": _name(value["name"])} if "name" in value else {"class": _name(value.get("class")), "args": args}


def layers_of(records: Iterable[Record]) -> Iterator[str]:
    """The layers of swaps, with the classes they became."""
    for record in records:
        for name, layer in record["layers"].items():
            kind = layer.get("new", layer).get("class", "a part that cannot be described")
            yield f"{name} ({kind.rpartition('.')[2]})"
