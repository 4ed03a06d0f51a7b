"""Key maps of Swin."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule, within

_BLOCK = (
    Rule("attn.relative_position_bias_table", "attn.position_bias.table"),
    Rule("{p}", "{p}"),
)

TIMM = (
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    Rule("patch_embed.norm.{p}", "embed.norm.{p}"),
    Rule("layers.{s}.downsample.reduction.{p}", "stages.{s}.transition.proj.{p}"),
    Rule("layers.{s}.downsample.norm.{p}", "stages.{s}.transition.norm.{p}"),
    *within("layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.fc.{p}", "head.{p}"),
)

LAYOUTS: dict[str, KeyMap] = {"timm": TIMM}
