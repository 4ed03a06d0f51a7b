"""Key maps of DeiT III."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.rules import KeyMap, Rule, Table
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import DeiT3


def official(model: DeiT3) -> Table:
    """The authors' vit_models, whose layer scales are ``gamma_1`` and ``gamma_2`` of a block; all else is named as in timm."""
    return (
        Rule("blocks.{b}.gamma_1", "stages.0.blocks.{b}.shortcut1.scale.weight"),
        Rule("blocks.{b}.gamma_2", "stages.0.blocks.{b}.shortcut2.scale.weight"),
        *vit.timm(model),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": vit.timm, "official": official}
