"""Key maps of Swin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.block import hf_block
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within

if TYPE_CHECKING:
    from .model import Swin

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


def hf_swin(prefix: str) -> Table:
    """Hugging Face's SwinForImageClassification with the prefix ``swin.``, its SwinModel with none."""
    return (
        Rule(f"{prefix}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        Rule(f"{prefix}embeddings.norm.{{p}}", "embed.norm.{p}"),
        Rule(f"{prefix}encoder.layers.{{s-1}}.downsample.reduction.{{p}}", "stages.{s}.transition.proj.{p}"),
        Rule(f"{prefix}encoder.layers.{{s-1}}.downsample.norm.{{p}}", "stages.{s}.transition.norm.{p}"),
        *within(f"{prefix}encoder.layers.{{s}}.blocks.{{b}}", "stages.{s}.blocks.{b}", _HF_BLOCK),
        Computed(
            f"{prefix}encoder.layers.{{s}}.blocks.{{b}}.attention.self.relative_position_index"
        ),  # of transformers 4
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: Swin) -> Table:
    """Hugging Face's SwinForImageClassification, or of a model without classes its SwinModel: build the model with ``padding="hf"``."""
    return hf_swin("swin." if isinstance(model.head, nn.Linear) else "")


LAYOUTS: dict[str, KeyMap] = {"timm": TIMM, "hf": hf}
