"""Key maps of CaiT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...block import ClassBlock
from ...checkpoint.block import counted_by_kind
from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import Concat

if TYPE_CHECKING:
    from .model import CaiT


_SCALES = (
    Rule("gamma_1", "shortcut1.scale.weight"),
    Rule("gamma_2", "shortcut2.scale.weight"),
)
PATCH_BLOCK = (
    *_SCALES,
    Rule("attn.proj_l.{p}", "attn.attend.mix_logits.{p}"),
    Rule("attn.proj_w.{p}", "attn.attend.mix_weights.{p}"),
    Rule("{p}", "{p}"),
)
CLASS_BLOCK = (
    *_SCALES,
    Rule(("attn.k.{p}", "attn.v.{p}"), "attn.kv.{p}", Concat(2)),
    Rule("{p}", "{p}"),
)


def official(model: CaiT) -> Table:
    """The authors' code and timm's, which has the same names. Class blocks are counted from 0 again."""
    return (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table"),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *counted_by_kind(model, ClassBlock, ("blocks", PATCH_BLOCK), ("blocks_token_only", CLASS_BLOCK)),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official, "timm": official}
