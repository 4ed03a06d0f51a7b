"""Key maps of DINO's head."""

from __future__ import annotations

from ..objectives.dino_head import DinoHead
from .rules import KeyMap, Rule, Table


def official(model: DinoHead) -> Table:
    """The authors' DINOHead. With a single Linear it is no list there."""
    return (
        Rule("mlp.{p}", "mlp.0.{p}" if len(model.mlp) == 1 else "mlp.{p}"),
        Rule("last_layer.weight_v", "last.direction"),
        Rule("last_layer.weight_g", "last.scale"),
    )


LAYOUTS: dict[type, dict[str, KeyMap]] = {DinoHead: {"official": official}}
