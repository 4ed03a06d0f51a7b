"""Key maps of Twins."""

from __future__ import annotations

from ...checkpoint.rules import KeyMap, Rule

OFFICIAL = (
    Rule("patch_embeds.0.proj.{p}", "embed.conv.{p}"),
    Rule("patch_embeds.0.norm.{p}", "embed.norm.{p}"),
    Rule("patch_embeds.{s}.proj.{p}", "stages.{s}.transition.conv.{p}"),
    Rule("patch_embeds.{s}.norm.{p}", "stages.{s}.transition.norm.{p}"),
    Rule("pos_block.{s}.proj.0.{p}", "stages.{s}.peg.conv.{p}"),
    Rule("blocks.{s}.{b}.attn.sr.{p}", "stages.{s}.blocks.{b}.attn.reduce.{p}"),
    Rule("blocks.{s}.{b}.{p}", "stages.{s}.blocks.{b}.{p}"),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)
"""The authors' code and timm's, which has the same names."""

LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL, "timm": OFFICIAL}
