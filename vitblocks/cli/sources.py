"""A model of whatever was named on the command line, and options as ``key=value``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from torch import nn

from ..border import load_model
from ..border.published import published
from ..registry import create_model, variants

SOURCE = (
    "a variant (see list), published weights, a folder or file of weights, a repository of the Hub (org/name), or a model or function in "
    "Python: my_model.py:model, package.module:model"
)


def model_from(
    source: str, *, num_classes: int | None = None, pretrained: bool = False, options: dict[str, Any] | None = None
) -> nn.Module:
    """A model by a name: see :data:`SOURCE`. A variant has fresh weights unless ``pretrained``.

    Raises:
        ValueError: there is none of this name, or an option that it does not take.
    """
    options = dict(options or {})
    where, colon, name = source.rpartition(":")
    if colon and name.isidentifier() and not source.startswith("hf-hub:"):
        return _from_python(where, name, num_classes, options)
    if source in variants() or (source in published() and options):
        made: Any = create_model(source, num_classes, pretrained=pretrained, **options)
        return made
    if not Path(source).exists() and "/" not in source and source not in published():
        create_model(source)  # which says what is called like it
    if options:
        raise ValueError(f"options {', '.join(options)} are for variants and Python, {source} comes as it is")
    return load_model(source, num_classes=num_classes)


def _from_python(where: str, name: str, num_classes: int | None, options: dict[str, Any]) -> nn.Module:
    """A module, or what a function makes, which gets ``num_classes`` if it takes it."""
    module = _from_file(Path(where)) if where.endswith(".py") else _imported(where)
    found = getattr(module, name, None)
    if found is None:
        raise ValueError(f"{where} has no {name!r}")
    if isinstance(found, nn.Module):
        if options:
            raise ValueError(f"{where}:{name} is a model already, it takes no options")
        made: Any = found
        if num_classes is not None and hasattr(made, "reset_head"):
            made.reset_head(num_classes)
    elif callable(found):
        taken = signature(found).parameters
        if num_classes is not None and ("num_classes" in taken or _takes_any(taken.values())):
            options.setdefault("num_classes", num_classes)
        try:
            made = found(**options)
        except Exception as error:
            raise ValueError(f"{where}:{name} cannot be called: {type(error).__name__}: {error}") from error
    else:
        made = found
    if not isinstance(made, nn.Module):
        raise ValueError(f"{where}:{name} must be a module, or a function that makes one, got {type(made).__name__}")
    return made


def _takes_any(parameters: Any) -> bool:
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # where classes look for their own module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    return module


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def options_of(pairs: Sequence[str], flag: str) -> dict[str, Any]:
    """``["epochs=3", "freeze=[\"embed*\"]"]`` as a dictionary; values are JSON, or else text.

    Raises:
        ValueError: one has no ``=``.
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"{flag} must be key=value, got {pair!r}")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found
