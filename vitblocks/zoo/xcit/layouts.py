"""Key maps of XCiT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.block import counted_by_kind
from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import Concat, Functions
from .parts import NormedClassBlock

if TYPE_CHECKING:
    from .model import XCiT

KERNEL = Functions(lambda theirs: (theirs[0][:, :, 0, 0],), lambda ours: (ours[0][:, :, None, None],))
"""A 1x1 convolution there, a Linear here."""

PATCH_BLOCK = (
    Rule("gamma1", "attn.shortcut.scale.weight"),
    Rule("gamma2", "mlp.shortcut.scale.weight"),
    Rule("gamma3", "local.shortcut.scale.weight"),
    Rule("attn.temperature", "attn.layer.attend.temperature"),
    Rule("attn.{p}", "attn.layer.{p}"),
    Rule("norm1.{p}", "attn.norm.{p}"),
    Rule("norm2.{p}", "mlp.norm.{p}"),
    Rule("norm3.{p}", "local.norm.{p}"),
    Rule("local_mp.bn.{p}", "local.layer.conv.norm.{p}"),
    Rule("local_mp.{p}", "local.layer.conv.{p}"),
    Rule("mlp.{p}", "mlp.layer.{p}"),
)
CLASS_BLOCK = (
    Rule("gamma1", "shortcut1.scale.weight"),
    Rule("gamma2", "shortcut2.scale.weight"),
    Rule(("attn.k.{p}", "attn.v.{p}"), "attn.kv.{p}", Concat(2)),
    Rule("{p}", "{p}"),
)


def timm(model: XCiT) -> Table:
    """timm's Xcit. Class blocks are counted from 0 again."""
    return (
        Rule("patch_embed.proj.{2*i}.0.{p}", "embed.conv.{i}.conv.{p}"),
        Rule("patch_embed.proj.{2*i}.1.{p}", "embed.conv.{i}.norm.{p}"),
        Rule("pos_embed.token_projection.weight", "stages.0.fourier_position.proj.weight", KERNEL),
        Rule("pos_embed.token_projection.bias", "stages.0.fourier_position.proj.bias"),
        Rule("cls_token", "stages.0.class_token.token"),
        *counted_by_kind(model, NormedClassBlock, ("blocks", PATCH_BLOCK), ("cls_attn_blocks", CLASS_BLOCK)),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm}
