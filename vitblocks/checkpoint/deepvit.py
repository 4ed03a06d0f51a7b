"""Key maps of DeepViT."""

from __future__ import annotations

from ..zoo.deepvit import DeepViT
from .rules import KeyMap, Rule, within
from .transforms import Chain, Inverted, Unsqueeze

PIXEL = Chain(Inverted(Unsqueeze(-1)), Inverted(Unsqueeze(-1)))
"""Their 1x1 convolution over the heads, our matrix."""

BLOCK = (
    Rule("attn.reatten_matrix.weight", "attn.attend.mix.weight", PIXEL),
    Rule("attn.reatten_matrix.bias", "attn.attend.mix.bias"),
    Rule("attn.var_norm.{p}", "attn.attend.norm.{p}"),
    Rule("{p}", "{p}"),
)

OFFICIAL = (
    Rule("cls_token", "stages.0.class_token.token"),
    Rule("pos_embed", "stages.0.learned_position.table"),
    Rule("patch_embed.conv.0.{p}", "embed.conv.0.conv.{p}"),
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    *within("blocks.{b}", "stages.0.blocks.{b}", BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)

LAYOUTS: dict[type, dict[str, KeyMap]] = {DeepViT: {"official": OFFICIAL}}
