"""Key maps of DINO's whole files: student, teacher and centre (arXiv:2104.14294, authors' ``main_dino.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ..checkpoint.transforms import Functions
from .dino_head import official as head_official

if TYPE_CHECKING:
    from .dino import Dino


def official(model: Dino) -> Table:
    """The authors' file, ``{"student": {"module.backbone...": ...}, "teacher": ..., "dino_loss": {"center": ...}}``.

    The backbone has the names that the layout ``official`` of the model's class has, or ``timm``. The step is in no entry: call
    ``learner.start_epoch(file["epoch"])``.

    Raises:
        ValueError: the class of the model has neither.
    """
    known = model.backbone_layouts
    found = known.get("official", known.get("timm"))
    if found is None:
        raise ValueError(
            f"net must be of a class with the layout 'official' or 'timm' for DINO's files, it has {[*known]}"
        )
    return (*_tower(model, "student", found), *_tower(model, "teacher", found), *_centre(model))


def _tower(model: Dino, name: str, layout: KeyMap) -> Table:
    tower: Any = model.get_submodule(name)
    encoder = tower.encoder
    table = layout(encoder) if callable(layout) else layout
    rules: list[Rule | Computed] = []
    for entry in table:
        if isinstance(entry, Rule):
            rules += within(f"{name}.backbone", f"{name}.encoder", [entry])
        else:
            at = None if entry.at is None else f"{name}.encoder.{entry.at}"
            rules.append(replace(entry, theirs=f"{name}.backbone.{entry.theirs}", at=at))
    heads = [rule for rule in head_official(tower.head) if isinstance(rule, Rule)]
    return (*rules, *within(f"{name}.head", f"{name}.head", heads))


def _centre(model: Dino) -> Table:
    """What the file says nothing of begins anew: the batches observed since the centre moved, and the step."""

    def fresh(value: Tensor) -> Functions:
        empty = torch.zeros(value.shape, dtype=value.dtype)
        return Functions(lambda theirs: (empty,), lambda ours: ())

    parts = {"centering.total": model.centering.total, "centering.count": model.centering.count, "step": model.step}
    return (
        Rule("dino_loss.center", "centering.center"),
        *(Rule((), place, fresh(value)) for place, value in parts.items()),
    )


def as_published(entries: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What ``export(learner, "official")`` gives, as the authors' code saves it and resumes from: a dictionary for each part.

    The names of the student begin with ``module.``, because it trains in parallel.
    """
    parts: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": {}, "dino_loss": {}}
    for key, value in entries.items():
        part, _, name = key.partition(".")
        parts[part][f"module.{name}" if part == "student" else name] = value
    return parts


LAYOUTS: dict[str, KeyMap] = {"official": official}
