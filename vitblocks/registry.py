"""Parts and published variants by name: ``@part``, ``create_model("cait_s24_224")``, ``list_models("cait*")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .recipe.part import list_parts, part

if TYPE_CHECKING:  # every part imports this module for @part
    from .model import Model
    from .zoo import CrossViT

__all__ = ["ZOO", "Variant", "Variants", "create_model", "list_models", "list_parts", "part", "variants"]

ZOO = (
    "cait",
    "cct",
    "cross_vit",
    "crossformer",
    "cvt",
    "deepvit",
    "distill",
    "levit",
    "local_vit",
    "mobile_vit",
    "nest",
    "pit",
    "regionvit",
    "t2t",
    "twins_svt",
    "vit",
)
"""The zoo modules that hold a table ``VARIANTS``."""


class Variant(NamedTuple):
    """What a published variant is built by, and with which sizes."""

    build: Callable[..., Any]  # a Model, but for CrossViT, whose two towers are a class of their own
    options: Mapping[str, Any]


Variants: TypeAlias = dict[str, Variant]


@cache
def variants() -> Variants:
    """Every published variant, from the table of each zoo module.

    Raises:
        ValueError: two zoo modules name the same variant.
    """
    table: Variants = {}
    for module in ZOO:
        own: Variants = import_module(f".zoo.{module}", __package__).VARIANTS
        if twice := table.keys() & own.keys():
            raise ValueError(f"zoo.{module} names variants that another module names too: {sorted(twice)}")
        table.update(own)
    return table


def list_models(pattern: str = "*") -> list[str]:
    """The names of the published variants that match a shell pattern, sorted; every one by default."""
    return sorted(name for name in variants() if fnmatchcase(name, pattern))


def create_model(name: str, num_classes: int = 1000, **overrides: Any) -> Model | CrossViT:
    """A published variant with fresh weights: a :class:`~vitblocks.Model`, or a :class:`~vitblocks.CrossViT`.

    Args:
        name: as :func:`list_models` gives it.
        num_classes: 0 for features.
        overrides: arguments of the zoo class to change (``drop_path=0.1``, ``image_size=384``).

    Raises:
        ValueError: no variant of this name; the message names close ones.
        TypeError: an override that the zoo class does not take.
    """
    table = variants()
    if name not in table:
        close = get_close_matches(name, table, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see vitblocks.list_models()"
        raise ValueError(f"no published variant is called {name!r}; {hint}")
    variant = table[name]
    return variant.build(**{**variant.options, "num_classes": num_classes, **overrides})
