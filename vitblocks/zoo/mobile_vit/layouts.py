"""Key maps of MobileViT."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from torch import nn

from ...checkpoint.block import HF_BLOCK
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Functions
from ...model import Stage

if TYPE_CHECKING:
    from .model import MobileViT

FUSION_TIMM = (
    Rule("conv_kxk.conv.{p}", "local.conv.{p}"),
    Rule("conv_kxk.bn.{p}", "local.norm.{p}"),
    Rule("conv_1x1.{p}", "expand.{p}"),
    Rule("norm.{p}", "inner.layer.layers.{n}.module.{p}"),
    Rule("transformer.{i}.{p}", "inner.layer.layers.{i}.{p}"),
    Rule("conv_proj.conv.{p}", "project.conv.{p}"),
    Rule("conv_proj.bn.{p}", "project.norm.{p}"),
    Rule("conv_fusion.conv.{p}", "fuse.conv.{p}"),
    Rule("conv_fusion.bn.{p}", "fuse.norm.{p}"),
)
"""timm's MobileVitBlock."""

FUSION_LAYOUTS: dict[str, KeyMap] = {"timm": FUSION_TIMM}

POINTWISE = Functions(
    lambda theirs: tuple(kernel[..., 0, 0] for kernel in theirs),
    lambda ours: tuple(weight[..., None, None] for weight in ours),
)
"""Theirs is a 1x1 convolution, ours a Linear."""


_INVERTED_TIMM = (
    Rule("conv1_1x1.conv.{p}", "expand.conv.{p}"),
    Rule("conv1_1x1.bn.{p}", "expand.norm.{p}"),
    Rule("conv2_kxk.conv.{p}", "depthwise.conv.{p}"),
    Rule("conv2_kxk.bn.{p}", "depthwise.norm.{p}"),
    Rule("conv3_1x1.conv.{p}", "project.conv.{p}"),
    Rule("conv3_1x1.bn.{p}", "project.norm.{p}"),
)


def timm(model: MobileViT) -> Table:
    """timm's ByobNet with a MobileViT configuration: a stage's inverted residuals and its block are one list."""
    blocks = [
        rule
        for s, stage in enumerate(model.stages)
        for rule in within(f"stages.{s}.{len(cast(Stage, stage).layers)}", f"stages.{s}.blocks.0", FUSION_TIMM)
    ]
    return (
        Rule("stem.conv.{p}", "embed.conv.conv.{p}"),
        Rule("stem.bn.{p}", "embed.conv.norm.{p}"),
        *within("stages.0.0", "stages.0.on_map.conv", _INVERTED_TIMM),
        *within("stages.0.{i}", "stages.0.on_map_{i}.conv", _INVERTED_TIMM),
        *within("stages.{s}.0", "stages.{s}.transition.conv", _INVERTED_TIMM),
        *within("stages.{s}.1", "stages.{s}.on_map.conv", _INVERTED_TIMM),
        *within("stages.{s}.{i+1}", "stages.{s}.on_map_{i}.conv", _INVERTED_TIMM),
        *blocks,
        Rule("final_conv.conv.weight", "norm.0.linear.weight", POINTWISE),
        Rule("final_conv.bn.{p}", "norm.0.norm.bn.{p}"),
        Rule("head.fc.{p}", "head.1.{p}"),
    )


def _unit(name: str, ours: str) -> tuple[Rule, Rule]:
    """A convolution of the authors' code, with what follows it in the same block."""
    return (
        Rule(f"{name}.block.conv.{{p}}", f"{ours}.conv.{{p}}"),
        Rule(f"{name}.block.norm.{{p}}", f"{ours}.norm.{{p}}"),
    )


_INVERTED_OFFICIAL = (
    *_unit("block.exp_1x1", "expand"),
    *_unit("block.conv_3x3", "depthwise"),
    *_unit("block.red_1x1", "project"),
)

_FUSION_OFFICIAL = (
    *_unit("local_rep.conv_3x3", "local"),
    Rule("local_rep.conv_1x1.block.conv.{p}", "expand.{p}"),
    Rule("global_rep.{n}.{p}", "inner.layer.layers.{n}.module.{p}"),
    Rule("global_rep.{i}.pre_norm_mha.0.{p}", "inner.layer.layers.{i}.norm1.{p}"),
    Rule("global_rep.{i}.pre_norm_mha.1.qkv_proj.{p}", "inner.layer.layers.{i}.attn.qkv.{p}"),
    Rule("global_rep.{i}.pre_norm_mha.1.out_proj.{p}", "inner.layer.layers.{i}.attn.proj.{p}"),
    Rule("global_rep.{i}.pre_norm_ffn.0.{p}", "inner.layer.layers.{i}.norm2.{p}"),
    Rule("global_rep.{i}.pre_norm_ffn.1.{p}", "inner.layer.layers.{i}.mlp.fc1.{p}"),
    Rule("global_rep.{i}.pre_norm_ffn.4.{p}", "inner.layer.layers.{i}.mlp.fc2.{p}"),
    *_unit("conv_proj", "project"),
    *_unit("fusion", "fuse"),
)

OFFICIAL = (
    *_unit("conv_1", "embed.conv"),
    *within("layer_1.0", "stages.0.on_map.conv", _INVERTED_OFFICIAL),
    *within("layer_1.{i}", "stages.0.on_map_{i}.conv", _INVERTED_OFFICIAL),
    *within("layer_{s+1}.0", "stages.{s}.transition.conv", _INVERTED_OFFICIAL),
    *within("layer_2.1", "stages.1.on_map.conv", _INVERTED_OFFICIAL),
    *within("layer_2.{i+1}", "stages.1.on_map_{i}.conv", _INVERTED_OFFICIAL),
    *within("layer_{s+1}.1", "stages.{s}.blocks.0", _FUSION_OFFICIAL),
    Rule("conv_1x1_exp.block.conv.weight", "norm.0.linear.weight", POINTWISE),
    Rule("conv_1x1_exp.block.norm.{p}", "norm.0.norm.bn.{p}"),
    Rule("classifier.fc.{p}", "head.1.{p}"),
)
"""The authors' code, ml-cvnets."""


def _hf_unit(name: str, ours: str) -> tuple[Rule, Rule]:
    return (
        Rule(f"{name}.convolution.{{p}}", f"{ours}.conv.{{p}}"),
        Rule(f"{name}.normalization.{{p}}", f"{ours}.norm.{{p}}"),
    )


_INVERTED_HF = (
    *_hf_unit("expand_1x1", "expand"),
    *_hf_unit("conv_3x3", "depthwise"),
    *_hf_unit("reduce_1x1", "project"),
)

_BLOCK_HF = tuple(replace(rule, also=()) for rule in HF_BLOCK)  # its modules kept the names that files have

_FUSION_HF = (
    *_hf_unit("conv_kxk", "local"),
    Rule("conv_1x1.convolution.{p}", "expand.{p}"),
    Rule("layernorm.{p}", "inner.layer.layers.{n}.module.{p}"),
    *within("transformer.layer.{i}", "inner.layer.layers.{i}", _BLOCK_HF),
    *_hf_unit("conv_projection", "project"),
    *_hf_unit("fusion", "fuse"),
)


def hf_mobile_vit(prefix: str) -> Table:
    """Hugging Face's MobileViTForImageClassification with the prefix ``mobilevit.``, its MobileViTModel with none."""
    layer = f"{prefix}encoder.layer"
    return (
        *_hf_unit(f"{prefix}conv_stem", "embed.conv"),
        *within(f"{layer}.0.layer.0", "stages.0.on_map.conv", _INVERTED_HF),
        *within(f"{layer}.0.layer.{{i}}", "stages.0.on_map_{i}.conv", _INVERTED_HF),
        *within(f"{layer}.1.layer.0", "stages.1.transition.conv", _INVERTED_HF),
        *within(f"{layer}.1.layer.1", "stages.1.on_map.conv", _INVERTED_HF),
        *within(f"{layer}.1.layer.{{i+1}}", "stages.1.on_map_{i}.conv", _INVERTED_HF),
        *within(f"{layer}.{{s}}.downsampling_layer", "stages.{s}.transition.conv", _INVERTED_HF),
        *within(f"{layer}.{{s}}", "stages.{s}.blocks.0", _FUSION_HF),
        Rule(f"{prefix}conv_1x1_exp.convolution.weight", "norm.0.linear.weight", POINTWISE),
        Rule(f"{prefix}conv_1x1_exp.normalization.{{p}}", "norm.0.norm.bn.{p}"),
        Rule("classifier.{p}", "head.1.{p}"),
    )


def hf(model: MobileViT) -> Table:
    """Hugging Face's MobileViTForImageClassification, or of a model without classes its MobileViTModel."""
    classifies = any(isinstance(module, nn.Linear) for module in model.head.modules())
    return hf_mobile_vit("mobilevit." if classifies else "")


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": OFFICIAL, "hf": hf}
