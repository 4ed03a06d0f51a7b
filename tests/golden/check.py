"""Run our model on a case and compare every output."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor, nn

from vitblocks.checkpoint import KeyMap, export, layouts, load, other_names

from . import builders
from .case import Case
from .config import Config

TOLERANCE = 1e-9

Output = Callable[..., Tensor]
"""``(model, case) -> tensor``; for a name with ``{}`` in it ``(model, case, number) -> tensor``."""


class NoBuilderError(LookupError):
    """Nobody has said how to build the model of a case."""


@dataclass(frozen=True)
class Builder:
    """How to build our model of a case, and how to compute its outputs.

    Args:
        build: the case's ``config`` -> our model. It reads every key, or the case is refused.
        outputs: name -> ``(model, case) -> tensor``, for outputs that :data:`OUTPUTS` lacks or that are computed in another way here.
            ``{}`` in a name stands for a number, which the function gets too.
        tolerance: of outputs that cannot be compared at 1e-9, with the reason beside it in the builder.
        settings: keys of ``config`` that the outputs read rather than the model.
        key_map: ``config`` -> the key map of the weights, where the config bears on it; that of the case's layout if None.
    """

    build: Callable[[Config], nn.Module]
    outputs: Mapping[str, Output] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    key_map: Callable[[Config], KeyMap] | None = None

    def output(self, name: str) -> Callable[[Any, Case], Tensor] | None:
        """How to compute an output; None if nobody has said."""
        known = {**OUTPUTS, **self.outputs}
        if name in known:
            return known[name]
        for template, function in known.items():
            if match := re.fullmatch(re.escape(template).replace(r"\{\}", r"(\d+)"), name):
                number = int(match[1])
                return lambda model, case: function(model, case, number)
        return None


def _tokens(model: Any, case: Case) -> Tensor:
    return corner(model.encode(case.input)[0], case, "tokens")


def corner(x: Tensor, case: Case, output: str) -> Tensor:
    """The first tokens and channels of ``x (B, N, C)``, as many as the case holds of an output."""
    _, count, channels = case.outputs[output].shape
    return x[:, :count, :channels]


def _features(model: Any, case: Case) -> Tensor:
    return model.forward_features(case.input)


OUTPUTS: Mapping[str, Output] = {
    "logits": lambda model, case: model(case.input),
    "tokens": _tokens,
    "features": _features,
    "pre_logits": _features,
    "pooled": _features,
}
"""Outputs that are computed alike for every model."""


@cache
def all_builders() -> dict[tuple[str, ...], Builder]:
    """The tables ``BUILDERS`` of every module in ``builders``, keyed by (architecture, layout), or by these and a regular expression.

    The expression is one that the name of the reference must hold, where the references of a layout are several classes.
    """
    table: dict[tuple[str, ...], Builder] = {}
    for module in iter_modules(builders.__path__):
        own = import_module(f"{builders.__name__}.{module.name}").BUILDERS
        if twice := table.keys() & own.keys():
            raise ValueError(
                f"builders/{module.name}.py has builders that another module has too: {sorted(map(str, twice))}"
            )
        table.update(own)
    return table


def find_builder(case: Case) -> Builder:
    """The builder of a case, by its architecture, its layout and its reference. Its name does not matter.

    Raises:
        NoBuilderError: there is none, or more than one.
    """
    found = [
        builder
        for (architecture, layout, *reference), builder in all_builders().items()
        if (architecture, layout) == (case.architecture, case.layout)
        and all(re.search(expression, case.reference) for expression in reference)
    ]
    if len(found) != 1:
        raise NoBuilderError(
            f"{len(found) or 'no'} builder{'s' * (len(found) > 1)} for case {case.name}: architecture {case.architecture!r}, "
            f"layout {case.layout!r}, reference {case.reference!r}"
        )
    return found[0]


def written(case: Case, model: nn.Module) -> KeyMap:
    """The key map to write a model's weights with as the case has them.

    Cases hold what the reference calls them in memory, layouts what its files do, and what else it calls them.
    """
    key_map = layouts(model)[case.layout]
    as_in_files = export(model, key_map).keys() == {key for key, _, _ in case.raw["state"]}
    return key_map if as_in_files else other_names(key_map)


def config_of(case: Case) -> Config:
    """What a case asks for, for a builder."""
    shapes = {key: tuple(size) for key, size, _ in case.raw.get("state", ())}
    return Config(case.config, tuple(case.raw.get("input", ())), shapes=shapes)


def fresh(case: Case) -> tuple[nn.Module, str | KeyMap]:
    """Our model of a case in float64 and eval mode with weights of its own, and the key map of the case's.

    Raises:
        ConfigError: the builder lacks a key of ``config``, does not know one, or cannot honour one.
    """
    builder = find_builder(case)
    config = config_of(case)
    model = builder.build(config)
    key_map = case.layout if builder.key_map is None else builder.key_map(config)
    for setting in builder.settings:
        config.get(setting)
    config.finish()
    return model.double().eval(), key_map


def build(case: Case) -> nn.Module:
    """Our model of a case with the case's weights, loaded strictly.

    Raises:
        ConfigError: as :func:`fresh`.
        ValueError: the weights are not exactly the model's.
    """
    model, key_map = fresh(case)
    if state := case.state:
        load(model, state, layout=key_map)
    return model.eval()


def error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest expected value; infinite where the shapes differ or a number is NaN.

    An expected output of zeros is compared absolutely.
    """
    if actual.shape != expected.shape:
        return float("inf")
    largest = expected.abs().max().item()
    difference = (actual.to(torch.float64) - expected).abs().max().item() / (largest if largest > 0 else 1.0)
    return difference if difference == difference else float("inf")


@torch.no_grad()
def errors(case: Case, model: nn.Module) -> Iterator[tuple[str, float]]:
    """Every output of the case and its error, computed as it is asked for.

    Raises:
        NoBuilderError: nobody has said how to compute an output.
    """
    builder, expected = find_builder(case), case.outputs
    how = {name: builder.output(name) for name in expected}
    if unknown := [name for name, output in how.items() if output is None]:
        raise NoBuilderError(f"no way to compute the outputs {unknown} of case {case.name}")
    for name, output in how.items():
        if output is not None:
            yield name, error(output(model, case), expected[name])


def tolerance(case: Case, output: str) -> float:
    return find_builder(case).tolerance.get(output, TOLERANCE)
