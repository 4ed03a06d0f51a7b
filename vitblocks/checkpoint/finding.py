"""The layout of a checkpoint, found among those that a model's class knows by trying them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .report import Report
from .rules import KeyMap

Translated: TypeAlias = tuple[dict[str, Tensor], Report]


class Tried(NamedTuple):
    """A layout, and what the checkpoint is by it."""

    layout: str
    values: dict[str, Tensor]
    report: Report


def find_layout(known: Mapping[str, KeyMap], translate: Callable[[str], Translated], strict: bool) -> Translated:
    """What a checkpoint is by the layout by which it is the model's; by the first of several with the same result.

    Args:
        known: the layouts.
        translate: a layout's name -> what the checkpoint is by it.
        strict: only layouts by which everything fits will do; otherwise the one by which most does.

    Raises:
        ValueError: none does, or several with other results; the message says how much fits by each.
    """
    tried: list[Tried] = []
    failed: list[tuple[str, Exception]] = []
    for name in _distinct(known):
        try:
            tried.append(Tried(name, *translate(name)))
        except (ValueError, TypeError) as error:
            failed.append((name, error))
    whole = [one for one in tried if one.report.ok]
    if failed and not any(2 * len(one.report.loaded) > len(one.report.missing) for one in tried):
        name, why = failed[0]
        raise ValueError(f"the checkpoint is of none of the layouts {', '.join(known)}; by {name!r}: {why}") from why
    if not whole and strict:
        best = max(tried, key=lambda one: len(one.report.loaded))
        raise ValueError(
            f"the checkpoint is whole by none of the layouts: {_counts(tried)}; say layout= if it is one\n{best.report}"
        )
    most = max(len(one.report.loaded) for one in tried)
    fitting = whole or [one for one in tried if most and len(one.report.loaded) == most]
    if not fitting:
        raise ValueError(f"nothing in the checkpoint fits by any layout: {_counts(tried)}\n{tried[0].report}")
    first, *others = fitting
    if rivals := [one for one in others if not _same(one.values, first.values)]:
        names = ", ".join(repr(one.layout) for one in (first, *rivals))
        raise ValueError(
            f"the checkpoint may be of the layouts {names}, with other results: say which, layout={first.layout!r}"
        )
    return first.values, first.report


def _distinct(known: Mapping[str, KeyMap]) -> list[str]:
    """The names, one of those that stand for the same key map."""
    first: dict[int, str] = {}
    for name, layout in known.items():
        first.setdefault(id(layout), name)
    return list(first.values())


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def _counts(tried: list[Tried]) -> str:
    return ", ".join(f"{len(one.report.loaded)} entries by {one.layout!r}" for one in tried)
