"""How parts that the old layer did not have begin: as nothing, so that the model computes what it computed before."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..attention.talking_heads import HeadMix


def start_neutral(layer: nn.Module, *, keep_mixes: bool = False) -> None:
    """Bring every part of a fresh layer to where it changes nothing; ``keep_mixes`` leaves out the mixes of the heads."""
    for part in layer.modules():
        if not (keep_mixes and isinstance(part, HeadMix)):
            neutral(part)


def neutral(part: Any) -> None:
    """Bring one part to where it changes nothing, if it says how by ``reset_neutral()``."""
    if hasattr(part, "reset_neutral"):
        part.reset_neutral()
