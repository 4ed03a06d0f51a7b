"""The table of published weights: which variant they are, where they lie, under which licence, and what they want done to images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from .preprocessing import Preprocessing


class Published(NamedTuple):
    """Published weights.

    Attributes:
        name: as their source calls them, ``vit_base_patch16_224.augreg_in21k``.
        variant: what :func:`vitblocks.create_model` calls the model.
        hub: the repository that they lie in.
        num_classes: 0 for features.
        license: of the weights; None where their source says none.
        preprocessing: of images.
    """

    name: str
    variant: str
    hub: str
    num_classes: int
    license: str | None
    preprocessing: Preprocessing


@cache
def published() -> Mapping[str, Published]:
    """All of them by name."""
    rows: dict[str, dict[str, Any]] = json.loads(
        files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    )
    return {
        name: Published(name=name, **{**row, "preprocessing": Preprocessing(**row["preprocessing"])})
        for name, row in rows.items()
    }


def weights_of(name: str) -> Published:
    """The weights of a name, with or without a tag: without one the first that are for a variant's 1000 classes, else the first.

    Raises:
        ValueError: there are none; the message names close ones.
    """
    table = published()
    if name in table:
        return table[name]
    found = [row for row in table.values() if row.variant == name or row.name.partition(".")[0] == name]
    if not found:
        close = get_close_matches(name, [*table, *{row.variant for row in table.values()}], n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see vitblocks.list_models(pretrained=True)"
        raise ValueError(f"no published weights are known for {name!r}; {hint}")
    return next((row for row in found if row.num_classes == 1000), found[0])
