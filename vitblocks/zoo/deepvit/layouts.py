"""Key maps of DeepViT."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule, within
from ...checkpoint.transforms import Compose, Inverted, Unsqueeze

# The mix of the heads is a 1x1 convolution there and a matrix here.
BLOCK = (
    Rule("attn.reatten_matrix.weight", "attn.attend.mix.weight", Inverted(Compose(Unsqueeze(-1), Unsqueeze(-1)))),
    Rule("attn.reatten_matrix.bias", "attn.attend.mix.bias"),
    Rule("attn.var_norm.{p}", "attn.attend.norm.{p}"),
    Rule("{p}", "{p}"),
)

OFFICIAL = (
    Rule("cls_token", "stages.0.class_token.token"),
    Rule("pos_embed", "stages.0.learned_position.table"),
    Rule("patch_embed.conv{i+1}.{p}", "embed.conv.{i}.conv.{p}"),
    Rule("patch_embed.bn{i+1}.{p}", "embed.conv.{i}.norm.{p}"),
    Rule("patch_embed.proj.{p}", "embed.conv.2.{p}"),
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    *within("blocks.{b}", "stages.0.blocks.{b}", BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL}
