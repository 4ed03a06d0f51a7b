"""Key maps of DINOv3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat
from ...feedforward import GatedMlp
from ...prefix import ClassToken, MaskToken, RegisterToken
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

    def none(model: DINOv3) -> Tensor:
        return zeros(model)[:, :0]

    def token(kind: type, name: str, other: Callable[[DINOv3], Tensor]) -> Rule | Computed:
        theirs = f"embeddings.{name}"
        ours = "stages.0." + ("mask_token.token" if kind is MaskToken else "register_token.token")
        return Rule(theirs, ours) if any(isinstance(part, kind) for part in parts) else Computed(theirs, function=other)

    return (
        Rule("embeddings.cls_token", "stages.0.class_token.token"),
        token(RegisterToken, "register_tokens", none),
        token(MaskToken, "mask_token", zeros),
        Rule("embeddings.patch_embeddings.{p}", "embed.conv.{p}"),
        *within("layer.{b}", "stages.0.blocks.{b}", block, also="model.layer.{b}"),
        Rule("norm.{p}", "norm.{p}"),
        Rule("head.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
