"""Key maps of Swin."""

from __future__ import annotations

from ...checkpoint.block import hf_block
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

_HF_BLOCK = (
    Rule(
        "attention.self.relative_position_bias_table",
        "attn.position_bias.table",
        also="attention.relative_position_bias.relative_position_bias_table",
    ),
    *hf_block("attention.self"),
)

HF = (
    Rule("swin.embeddings.patch_embeddings.projection.{p}", "embed.conv.{p}"),
    Rule("swin.embeddings.norm.{p}", "embed.norm.{p}"),
    Rule("swin.encoder.layers.{s-1}.downsample.reduction.{p}", "stages.{s}.transition.proj.{p}"),
    Rule("swin.encoder.layers.{s-1}.downsample.norm.{p}", "stages.{s}.transition.norm.{p}"),
    *within("swin.encoder.layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _HF_BLOCK),
    Rule("swin.layernorm.{p}", "norm.{p}"),
    Rule("classifier.{p}", "head.{p}"),
)
"""Hugging Face's SwinForImageClassification, which attends to padding: build the model with ``padding="attended"``."""

LAYOUTS: dict[str, KeyMap] = {"timm": TIMM, "hf": HF}
