"""Key maps of CaiT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...block import ClassBlock
from ...checkpoint.rules import KeyMap, Rule, Table, within
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
    blocks = [block for _, block in model.blocks()]
    first = sum(not isinstance(block, ClassBlock) for block in blocks)
    return (
        Rule("cls_token", "stages.0.class_token.token"),
        Rule("pos_embed", "stages.0.learned_position.table"),
        Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
        *(rule for b in range(first) for rule in within(f"blocks.{b}", f"stages.0.blocks.{b}", PATCH_BLOCK)),
        *(
            rule
            for b in range(first, len(blocks))
            for rule in within(f"blocks_token_only.{b - first}", f"stages.0.blocks.{b}", CLASS_BLOCK)
        ),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"official": official, "timm": official}
