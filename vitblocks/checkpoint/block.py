"""Key maps of blocks that are published on their own."""

from __future__ import annotations

from ..block import ConvFusion
from .rules import KeyMap, Rule

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

LAYOUTS: dict[type, dict[str, KeyMap]] = {ConvFusion: {"timm": FUSION_TIMM}}
