"""Key maps of RoPE-ViT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange

from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import Functions
from ..eva.layouts import eva

if TYPE_CHECKING:
    from .model import RoPEViT

_STACKED = Functions(
    lambda theirs: tuple(rearrange(theirs[0], "two depth heads d -> depth two heads d")),
    lambda ours: (torch.stack(ours, dim=1),),
)
"""Theirs is one tensor of all blocks' frequencies."""


def timm(model: RoPEViT) -> Table:
    """timm's Eva."""
    rotaries = [getattr(getattr(block, "attn", None), "rotary", None) for _, block in model.blocks()]
    mixed = [i for i, rotary in enumerate(rotaries) if getattr(rotary, "mixed_heads", None) is not None]
    learned = tuple(f"stages.0.blocks.{i}.attn.rotary.frequencies" for i in mixed)
    return (
        *((Rule("rope.freqs", learned, _STACKED),) if mixed else ()),
        Rule("reg_token", "stages.0.register_token.token"),
        *eva(model, separate_qkv=False, separate_gate=True),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm}
