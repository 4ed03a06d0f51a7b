"""Key maps of DINOv3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat
from ...feedforward import GatedMlp
from ...prefix import ClassToken, MaskToken
from ..eva.layouts import eva

if TYPE_CHECKING:
    from .model import DINOv3


def timm(model: DINOv3) -> Table:
    """timm's Eva."""
    return (Rule("reg_token", "stages.0.register_token.token"), *eva(model, separate_qkv=False, separate_gate=True))


def hf(model: DINOv3) -> Table:
    """Hugging Face's DINOv3ViTModel, which has no classes."""
    parts = list(model.modules())
    gated = any(isinstance(part, GatedMlp) for part in parts)
    block = (
        Rule(tuple(f"attention.{name}_proj.weight" for name in "qkv"), "attn.qkv.linear.weight", Concat(3)),
        Rule("attention.q_proj.bias", "attn.qkv.q_bias"),
        Rule("attention.v_proj.bias", "attn.qkv.v_bias"),
        Rule(tuple(f"attention.{name}_proj.weight" for name in "qkv"), "attn.qkv.weight", Concat(3)),
        Rule("attention.o_proj.{p}", "attn.proj.{p}"),
        Rule("layer_scale1.lambda1", "shortcut1.scale.weight"),
        Rule("layer_scale2.lambda1", "shortcut2.scale.weight"),
        *((Rule("mlp.gate_proj.{p}", "mlp.gate.{p}"),) if gated else ()),
        Rule("mlp.up_proj.{p}", "mlp.fc1.{p}"),
        Rule("mlp.down_proj.{p}", "mlp.fc2.{p}"),
        Rule("{p}", "{p}"),
    )

    def zeros(model: DINOv3) -> Tensor:
        return torch.zeros_like(next(part.token for part in model.modules() if isinstance(part, ClassToken)))

    mask = "embeddings.mask_token"
    masked = any(isinstance(part, MaskToken) for part in parts)
    return (
        Rule("embeddings.cls_token", "stages.0.class_token.token"),
        Rule("embeddings.register_tokens", "stages.0.register_token.token"),
        Rule(mask, "stages.0.mask_token.token") if masked else Computed(mask, function=zeros),
        Rule("embeddings.patch_embeddings.{p}", "embed.conv.{p}"),
        *within("layer.{b}", "stages.0.blocks.{b}", block, also="model.layer.{b}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
