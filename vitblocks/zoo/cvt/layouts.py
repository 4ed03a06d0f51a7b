"""Key maps of CvT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.rules import KeyMap, Rule, Table, within

if TYPE_CHECKING:
    from .model import CvT

_OFFICIAL_BLOCK = (
    Rule("attn.conv_proj_{w}.conv.{p}", "attn.{w}.conv.{p}"),
    Rule("attn.conv_proj_{w}.bn.{p}", "attn.{w}.norm.{p}"),
    Rule("attn.proj_{w}.{p}", "attn.{w}.linear.{p}"),
    Rule("{p}", "{p}"),
)

OFFICIAL = (
    Rule("stage0.patch_embed.proj.{p}", "embed.conv.{p}"),
    Rule("stage0.patch_embed.norm.{p}", "embed.norm.{p}"),
    Rule("stage{s}.patch_embed.proj.{p}", "stages.{s}.transition.conv.{p}"),
    Rule("stage{s}.patch_embed.norm.{p}", "stages.{s}.transition.norm.{p}"),
    Rule("stage{s}.cls_token", "stages.{s}.class_token.token"),
    *within("stage{s}.blocks.{b}", "stages.{s}.blocks.{b}", _OFFICIAL_BLOCK),
    Rule("norm.{p}", "norm.{p}"),
    Rule("head.{p}", "head.{p}"),
)

_CONV = "attention.attention.convolution_projection_{}.convolution_projection"
_HF_BLOCK = (
    *(
        rule
        for name in ("query", "key", "value")
        for rule in (
            Rule(f"{_CONV.format(name)}.convolution.{{p}}", f"attn.{name[0]}.conv.{{p}}"),
            Rule(f"{_CONV.format(name)}.normalization.{{p}}", f"attn.{name[0]}.norm.{{p}}"),
            Rule(f"attention.attention.projection_{name}.{{p}}", f"attn.{name[0]}.linear.{{p}}"),
        )
    ),
    Rule("attention.output.dense.{p}", "attn.proj.{p}"),
    Rule("intermediate.dense.{p}", "mlp.fc1.{p}"),
    Rule("output.dense.{p}", "mlp.fc2.{p}"),
    Rule("layernorm_before.{p}", "norm1.{p}"),
    Rule("layernorm_after.{p}", "norm2.{p}"),
)
_EMBEDDING = "embedding.convolution_embeddings"


def hf_cvt(prefix: str) -> Table:
    """Hugging Face's CvtForImageClassification with the prefix ``cvt.``, its CvtModel with none."""
    stages = f"{prefix}encoder.stages"
    return (
        Rule(f"{stages}.0.{_EMBEDDING}.projection.{{p}}", "embed.conv.{p}"),
        Rule(f"{stages}.0.{_EMBEDDING}.normalization.{{p}}", "embed.norm.{p}"),
        Rule(f"{stages}.{{s}}.{_EMBEDDING}.projection.{{p}}", "stages.{s}.transition.conv.{p}"),
        Rule(f"{stages}.{{s}}.{_EMBEDDING}.normalization.{{p}}", "stages.{s}.transition.norm.{p}"),
        Rule(f"{stages}.{{s}}.cls_token", "stages.{s}.class_token.token"),
        *within(f"{stages}.{{s}}.layers.{{b}}", "stages.{s}.blocks.{b}", _HF_BLOCK),
        Rule("layernorm.{p}", "norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: CvT) -> Table:
    """Hugging Face's CvtForImageClassification, or of a model without a last norm its CvtModel.

    Their feed-forward has the exact GELU: build the model with ``activation=nn.GELU``.
    """
    return hf_cvt("" if isinstance(model.norm, nn.Identity) else "cvt.")


LAYOUTS: dict[str, KeyMap] = {"official": OFFICIAL, "hf": hf}
