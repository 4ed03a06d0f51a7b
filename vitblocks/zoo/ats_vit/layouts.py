"""Key maps of ATS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from .parts import AdaptiveSampling

if TYPE_CHECKING:
    from .model import ATSViT


SAMPLING = (
    Rule("norm1.{p}", "norm.{p}"),
    Rule("attn.{p}", "attn.{p}"),
)
FEED_FORWARD = (
    Rule("norm2.{p}", "norm.{p}"),
    Rule("mlp.{p}", "layer.{p}"),
)


def zero_row(norm: nn.LayerNorm) -> Tensor:
    """What the authors' code scatters the kept tokens into: a parameter there that is always zero."""
    return torch.zeros(1, *norm.normalized_shape)


def official(model: ATSViT) -> Table:
    """The authors' code. A block of theirs that samples is a transition here, with the feed-forward in the stage after it."""
    table: list[Rule | Computed] = [
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table"),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    ]
    for s, stage in enumerate(model.stages):
        if isinstance(stage.transition, AdaptiveSampling):
            table += [
                *within("blocks.{n}", f"stages.{s}.transition", SAMPLING),
                *within("blocks.{n-1}", f"stages.{s + 1}.keep_padding.layer", FEED_FORWARD),
                Computed("blocks.{n}.attn.out_zero_mask", f"stages.{s}.transition.norm.weight", zero_row),
            ]
        table += within("blocks.{n}", f"stages.{s}.blocks.{{b}}", (Rule("{p}", "{p}"),))
    return table


LAYOUTS: dict[str, KeyMap] = {"official": official}
