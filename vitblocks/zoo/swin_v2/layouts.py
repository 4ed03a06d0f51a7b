"""Key maps of Swin V2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat

if TYPE_CHECKING:
    from .model import SwinV2

_BLOCK = (
    Rule("attn.logit_scale", "attn.attend.logit_scale"),
    Rule("attn.cpb_mlp.0.{p}", "attn.position_bias.fc1.{p}"),
    Rule("attn.cpb_mlp.2.{p}", "attn.position_bias.fc2.{p}"),
    Rule("attn.q_bias", "attn.qkv.q_bias"),
    Rule("attn.v_bias", "attn.qkv.v_bias"),
    Rule("attn.qkv.weight", "attn.qkv.linear.weight"),
    Rule("{p}", "{p}"),
)

TIMM = (
    Rule("patch_embed.proj.{p}", "embed.conv.{p}"),
    Rule("patch_embed.norm.{p}", "embed.norm.{p}"),
    Rule("layers.{s}.downsample.reduction.{p}", "stages.{s}.transition.proj.{p}"),
    Rule("layers.{s}.downsample.norm.{p}", "stages.{s}.transition.out_norm.{p}"),
    *within("layers.{s}.blocks.{b}", "stages.{s}.blocks.{b}", _BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.fc.{p}", "head.{p}"),
)

_THEIRS = "attention.self"
_WEIGHTS = tuple(f"{_THEIRS}.{name}.weight" for name in ("query", "key", "value"))

_HF_BLOCK = (
    Rule(f"{_THEIRS}.logit_scale", "attn.attend.logit_scale"),
    Rule(f"{_THEIRS}.continuous_position_bias_mlp.0.{{p}}", "attn.position_bias.fc1.{p}"),
    Rule(f"{_THEIRS}.continuous_position_bias_mlp.2.{{p}}", "attn.position_bias.fc2.{p}"),
    Rule(f"{_THEIRS}.query.bias", "attn.qkv.q_bias"),
    Rule(f"{_THEIRS}.value.bias", "attn.qkv.v_bias"),
    *(Rule(_WEIGHTS, f"attn.qkv.{ours}", Concat(3)) for ours in ("linear.weight", "weight")),
    Rule("attention.output.dense.{p}", "attn.proj.{p}"),
    Rule("layernorm_before.{p}", "norm1.{p}"),
    Rule("layernorm_after.{p}", "norm2.{p}"),
    Rule("intermediate.dense.{p}", "mlp.fc1.{p}"),
    Rule("output.dense.{p}", "mlp.fc2.{p}"),
)


def hf_swin_v2(prefix: str) -> Table:
    """Hugging Face's Swinv2ForImageClassification with the prefix ``swinv2.``, its Swinv2Model with none."""
    layers = f"{prefix}encoder.layers"
    return (
        Rule(f"{prefix}embeddings.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        Rule(f"{prefix}embeddings.norm.{{p}}", "embed.norm.{p}"),
        Rule(f"{layers}.{{s-1}}.downsample.reduction.{{p}}", "stages.{s}.transition.proj.{p}"),
        Rule(f"{layers}.{{s-1}}.downsample.norm.{{p}}", "stages.{s}.transition.out_norm.{p}"),
        *within(f"{layers}.{{s}}.blocks.{{b}}", "stages.{s}.blocks.{b}", _HF_BLOCK),
        *(
            Computed(f"{layers}.{{s}}.blocks.{{b}}.{_THEIRS}.relative_{name}")
            for name in ("position_index", "coords_table")
        ),
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: SwinV2) -> Table:
    """Hugging Face's Swinv2ForImageClassification, or of a model without classes its Swinv2Model.

    Build the model with ``padding="hf"`` and its ``image_size``.
    """
    return hf_swin_v2("swinv2." if isinstance(model.head, nn.Linear) else "")


LAYOUTS: dict[str, KeyMap] = {"timm": TIMM, "hf": hf}
