"""Key maps of CrossFormer and CrossFormer++."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule, within

_BLOCK = (
    Rule("attn.pos.pos_proj.{p}", "attn.position_bias.fc.{p}"),
    Rule("attn.pos.pos{i+1}.{p}", "attn.position_bias.layers.{i}.{p}"),
    Rule("{p}", "{p}"),
)

# The cooling layers belong to every third block.
_COOLING = (
    Rule("layers.{s}.blocks.2.ex_conv.{p}", "stages.{s}.on_map.conv.{p}"),
    Rule("layers.{s}.blocks.2.ex_ln.{p}", "stages.{s}.per_token.module.{p}"),
    Rule("layers.{s}.blocks.{3*k+2}.ex_conv.{p}", "stages.{s}.on_map_{k}.conv.{p}"),
    Rule("layers.{s}.blocks.{3*k+2}.ex_ln.{p}", "stages.{s}.per_token_{k}.module.{p}"),
)

OFFICIAL = (
    Rule("patch_embed.projs.{i}.{p}", "embed.conv.convs.{i}.{p}"),
    Rule("patch_embed.norm.{p}", "embed.norm.{p}"),
    *within("layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _BLOCK),
    *_COOLING,
    Rule("layers.{s-1}.downsample.norm.{p}", "stages.{s}.transition.conv.0.norm.{p}"),
    Rule("layers.{s-1}.downsample.reductions.{i}.{p}", "stages.{s}.transition.conv.1.convs.{i}.{p}"),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL}
