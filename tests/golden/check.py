"""Run our model on a case and compare every output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor, nn

from vitblocks.checkpoint import load

from . import builders
from .case import Case

TOLERANCE = 1e-9

Output = Callable[[Any, Case], Tensor]


class NoBuilderError(LookupError):
    """Nobody has said how to build the model of a case."""


@dataclass(frozen=True)
class Builder:
    """How to build our model of a case, and how to compute its outputs.

    Args:
        build: the case's ``config`` -> our model.
        outputs: name -> ``(model, case) -> tensor``, for outputs that :data:`OUTPUTS` lacks or that are computed in another way here.
        tolerance: of outputs that cannot be compared at 1e-9, with the reason beside it in the builder.
    """

    build: Callable[[dict[str, Any]], nn.Module]
    outputs: Mapping[str, Output] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)


def _tokens(model: Any, case: Case) -> Tensor:
    return model.encode(case.input)[0][:, :5, :8]


def _features(model: Any, case: Case) -> Tensor:
    return model.forward_features(case.input)


OUTPUTS: Mapping[str, Output] = {
    "logits": lambda model, case: model(case.input),
    "tokens": _tokens,
    "features": _features,
    "pre_logits": _features,
}
"""Outputs that are computed alike for every model."""


@cache
def all_builders() -> dict[str | tuple[str, str], Builder]:
    """The tables ``BUILDERS`` of every module in ``builders``, keyed by (architecture, layout) or by the name of one case."""
    table: dict[str | tuple[str, str], Builder] = {}
    for module in iter_modules(builders.__path__):
        own = import_module(f"{builders.__name__}.{module.name}").BUILDERS
        if twice := table.keys() & own.keys():
            raise ValueError(
                f"builders/{module.name}.py has builders that another module has too: {sorted(map(str, twice))}"
            )
        table.update(own)
    return table


def find_builder(case: Case) -> Builder:
    """Raises NoBuilderError if there is none."""
    table = all_builders()
    for key in (case.name, (case.architecture, case.layout)):
        if key in table:
            return table[key]
    raise NoBuilderError(f"no builder for case {case.name}: architecture {case.architecture!r}, layout {case.layout!r}")


def build(case: Case, state: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Our model of a case in float64 and eval mode, with the case's weights (or ``state``) loaded strictly.

    Raises:
        ValueError: the weights are not exactly the model's.
    """
    model = find_builder(case).build(case.config).double().eval()
    state = case.state if state is None else state
    if state:
        load(model, state, layout=case.layout)
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
def errors(case: Case, model: nn.Module) -> dict[str, float]:
    """The error of every output of the case.

    Raises:
        NoBuilderError: nobody has said how to compute an output.
    """
    own = find_builder(case).outputs
    expected = case.outputs
    if unknown := [name for name in expected if name not in own and name not in OUTPUTS]:
        raise NoBuilderError(f"no way to compute the outputs {unknown} of case {case.name}")
    return {name: error((own.get(name) or OUTPUTS[name])(model, case), value) for name, value in expected.items()}


def tolerance(case: Case, output: str) -> float:
    return find_builder(case).tolerance.get(output, TOLERANCE)
