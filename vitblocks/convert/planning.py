"""Which layer becomes what, under a budget: by drifts that are taken to add up, then checked by running the plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from ..inspect.table import aligned
from .cost import Cost
from .drift import Drift, answers, drift
from .kinds import KEPT, Kind
from .refit import refit
from .sensitivity import Entry, Sensitivity

Measure: TypeAlias = Literal["logits", "tokens"]

LIMIT = 4096
"""How many partial plans are kept at each layer, at most; below it the plans are exact."""


@dataclass(frozen=True)
class Plan:
    """A kind for every layer.

    Attributes:
        kinds: names of kinds by layer; ``"kept"`` for those that stay.
        cost: of all these layers together, in the unit it was planned by.
        drift: the sum of the layers' own.
        checked: the drift of the model that is converted by it and refitted; None until it was run.
    """

    kinds: dict[str, str]
    cost: float
    drift: float
    checked: Drift | None = None

    @property
    def changed(self) -> dict[str, str]:
        """Without the layers that stay."""
        return {layer: kind for layer, kind in self.kinds.items() if kind != KEPT}

    def __str__(self) -> str:
        rows = [[layer, kind] for layer, kind in self.kinds.items()]
        found = self.checked
        checked = "" if found is None else f"; when run, tokens {found.tokens:.4g} and logits {found.logits:.4g}"
        lines = ["  ".join(cells).rstrip() for cells in aligned(rows, left=2)]
        return "\n".join([*lines, f"cost {self.cost:.4g}, drift {self.drift:.4g} as a sum{checked}"])


def pareto(report: Sensitivity, *, cost: Cost = "seconds", measure: Measure = "tokens") -> list[Plan]:
    """All plans for which no other costs less and drifts less, cheapest first, by dynamic programming over the layers.

    Args:
        report: what each layer costs in each kind.
        cost: what is saved: ``"macs"``, ``"seconds"``, ``"parameters"``, or ``"activations"`` (the bytes kept for the backward).
        measure: whose drift is to be small; drifts of layers are taken to add up. The logits of a few dozen images that were told well
            before say little of layers that matter little: a few images near a border decide.

    Raises:
        ValueError: there is no such cost or measure.
    """
    if cost not in get_args(Cost) or measure not in get_args(Measure):
        raise ValueError(
            f"cost must be one of {get_args(Cost)} and measure one of {get_args(Measure)}, got {cost!r} and {measure!r}"
        )
    front = [Plan({}, 0.0, 0.0)]
    for layer in report.layers:
        choices = [entry for entry in report.entries if entry.layer == layer]
        front = _thinned([_with(plan, entry, cost, measure) for plan in front for entry in choices])
    return front


def _with(plan: Plan, entry: Entry, cost: Cost, measure: Measure) -> Plan:
    return Plan(
        {**plan.kinds, entry.layer: entry.kind},
        plan.cost + getattr(entry, cost),
        plan.drift + max(getattr(entry, measure), 0.0),
    )


def _thinned(plans: list[Plan]) -> list[Plan]:
    """Those that no other beats, cheapest first; of very many every so manyth."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.cost, plan.drift)):
        if not kept or plan.drift < kept[-1].drift:
            kept.append(plan)
    if len(kept) <= LIMIT:
        return kept
    step = (len(kept) - 1) / (LIMIT - 1)
    return [kept[round(i * step)] for i in range(LIMIT)]


def plan(
    report: Sensitivity, budget: float, *, cost: Cost = "seconds", measure: Measure = "tokens", share: bool = True
) -> Plan:
    """The plan that drifts least within a budget. Arguments and errors: see :func:`pareto`.

    Args:
        budget: what the layers together may cost: a share of what they cost now, or with ``share=False`` in the unit of the cost.

    Raises:
        ValueError: no plan is as cheap; the message says what the cheapest costs.
    """
    front = pareto(report, cost=cost, measure=measure)
    whole = sum(getattr(entry, cost) for entry in report.entries if entry.kind == KEPT)
    allowed = budget * whole if share else budget
    within = [found for found in front if found.cost <= allowed * (1 + 1e-9)]
    if not within:
        least = front[0].cost / whole if share else front[0].cost
        raise ValueError(f"budget must be at least {least:.4g} with these kinds, got {budget:.4g}")
    return within[-1]


@torch.no_grad()
def checked(
    model: nn.Module,
    plans: Sequence[Plan],
    kinds: Sequence[Kind],
    images: Tensor,
    *,
    measure: Measure = "tokens",
    refitted: bool = True,
    batch: int = 64,
) -> list[Plan]:
    """The plans with their drift when run, least first: what does not add up shows here.

    Args:
        model: left as it is.
        plans: such as the last few within a budget of :func:`pareto`.
        kinds: those that the plans name.
        images: without labels; with ``refitted`` the last quarter is measured on.
        measure: by which drift they are ordered.
        refitted: whether projections are refitted before.
        batch: images at a time.
    """
    cut = 3 * len(images) // 4 if refitted else 0
    before = answers(model, images[cut:], batch)
    done = []
    for one in plans:
        student = converted(model, one.changed, kinds)
        if refitted:
            half = 3 * cut // 4
            refit(student, model, images[:half], images[half:cut], list(one.changed), batch)
        done.append(replace(one, checked=drift(before, answers(student, images[cut:], batch))))
    return sorted(done, key=lambda found: getattr(found.checked, measure))


def converted(
    model: nn.Module, assignment: Mapping[str, str], kinds: Sequence[Kind], sample: Tensor | None = None
) -> nn.Module:
    """A copy of a model with these layers in these kinds, with the weights that both have.

    Raises:
        ValueError: a kind is not among ``kinds``.
    """
    known = {kind.name: kind for kind in kinds}
    missing = {kind for kind in assignment.values() if kind not in known}
    if missing:
        raise ValueError(f"kinds must hold those of the plan, {sorted(missing)} are not among {sorted(known)}")
    student = deepcopy(model)
    for layer, kind in assignment.items():
        known[kind].put(student, layer, sample)
    return student
