"""Key maps of DINOv2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...checkpoint.block import hf_block
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Concat, Functions, Inverted, Same, Unsqueeze
from ...feedforward import GatedMlp
from ...pool import ClassMeanPool
from ...position import LearnedPosition
from ...prefix import ClassToken, MaskToken, RegisterToken
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import DINOv2

Tensors = tuple[Tensor, ...]


def _add_position(class_and_table: Tensors) -> Tensors:
    """A class token and a table with a row for it, as a token that stands at its place and a table of the patches alone."""
    token, table = class_and_table
    return token + table[:, :1], table[:, 1:]


def _without_position(class_and_table: Tensors) -> Tensors:
    """The inverse of :func:`_add_position` with a row of zeros."""
    token, table = class_and_table
    return token, torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)


def _has(model: DINOv2, kind: type) -> bool:
    return any(isinstance(part, kind) for part in model.modules())


def _has_class_position(model: DINOv2) -> bool:
    return any(isinstance(part, LearnedPosition) and part.num_prefix for part in model.modules())


def _positions(model: DINOv2, token: str, table: str, *, with_class: bool) -> Table:
    """Rules of the class token and the positions, which in theirs have a row for it or not."""
    ours = ("stages.0.class_token.token", "stages.0.learned_position.table")
    if with_class == _has_class_position(model):
        return (Rule(token, ours[0]), Rule(table, ours[1]))
    fold = Functions(_add_position, _without_position)
    return (Rule((token, table), ours, fold if with_class else Inverted(fold)),)


def _mask(model: DINOv2, key: str) -> Table:
    """The mask token, ``(1, dim)`` there; zeros for a model without one."""
    if _has(model, MaskToken):
        return (Rule(key, "stages.0.mask_token.token", Unsqueeze(0)),)

    def zeros(model: DINOv2) -> Tensor:
        token = next(part.token for part in model.modules() if isinstance(part, ClassToken))
        return torch.zeros_like(token[0])

    return (Computed(key, function=zeros),)


def _no_registers(model: DINOv2, key: str, *, registers: bool) -> Table:
    """An empty table of registers for a model without them, if theirs has a table in any case."""

    def none(model: DINOv2) -> Tensor:
        return next(part.token[:, :0] for part in model.modules() if isinstance(part, ClassToken))

    return (Computed(key, function=none),) if registers and not _has(model, RegisterToken) else ()


def timm(model: DINOv2) -> Table:
    """timm's VisionTransformer: no mask token; with registers no position of the class token, to which it was added."""
    return (
        *_positions(model, "cls_token", "pos_embed", with_class=not _has(model, RegisterToken)),
        Rule("reg_token", "stages.0.register_token.token"),
        *vit.timm(model),
    )


def official(model: DINOv2) -> Table:
    """The authors' DinoVisionTransformer."""
    swiglu = (
        Rule("mlp.w12.{p}", ("mlp.gate.{p}", "mlp.fc1.{p}"), Inverted(Concat(2))),
        Rule("mlp.w3.{p}", "mlp.fc2.{p}"),
    )
    return (
        *_positions(model, "cls_token", "pos_embed", with_class=True),
        Rule("register_tokens", "stages.0.register_token.token"),
        *_mask(model, "mask_token"),
        *within("blocks.{b}", "stages.0.blocks.{b}", swiglu if _has(model, GatedMlp) else ()),
        *vit.timm(model),
    )


HF_BLOCK = (
    *(rule for rule in hf_block() if str(rule.ours).startswith("attn.")),
    Rule("layer_scale1.lambda1", "shortcut1.scale.weight"),
    Rule("layer_scale2.lambda1", "shortcut2.scale.weight"),
)
"""A block of Hugging Face's DINOv2, but for its feed-forward and its norms, which have our names."""

HF_SWIGLU = (
    Rule(
        "mlp.weights_in.{p}",
        ("mlp.gate.{p}", "mlp.fc1.{p}"),
        Inverted(Concat(2)),
        also=("mlp.gate_proj.{p}", "mlp.up_proj.{p}"),
        also_by=Same(),
    ),
    Rule("mlp.weights_out.{p}", "mlp.fc2.{p}", also="mlp.down_proj.{p}"),
)


def hf_dinov2(model: DINOv2, prefix: str, *, registers: bool) -> Table:
    """Hugging Face's Dinov2ForImageClassification with the prefix ``dinov2.``, its Dinov2Model with none; the same with registers."""
    gated = HF_SWIGLU if _has(model, GatedMlp) else ()
    embeddings = f"{prefix}embeddings"
    return (
        *_positions(model, f"{embeddings}.cls_token", f"{embeddings}.position_embeddings", with_class=True),
        Rule(f"{embeddings}.register_tokens", "stages.0.register_token.token"),
        *_no_registers(model, f"{embeddings}.register_tokens", registers=registers),
        *_mask(model, f"{embeddings}.mask_token"),
        Rule(f"{embeddings}.patch_embeddings.projection.{{p}}", "embed.conv.{p}"),
        *within(f"{prefix}encoder.layer.{{b}}", "stages.0.blocks.{b}", (*HF_BLOCK, *gated, Rule("{p}", "{p}"))),
        Rule(f"{prefix}layernorm.{{p}}", "norm.{p}"),
        Rule("classifier.{p}", "head.{p}"),
    )


def hf(model: DINOv2) -> Table:
    """Hugging Face's Dinov2Model and Dinov2WithRegistersModel; their ForImageClassification reads ``"cls+mean"``."""
    registers = _has(model, RegisterToken)
    classifies = isinstance(model.pool, ClassMeanPool) or isinstance(model.head, nn.Linear)
    name = "dinov2_with_registers." if registers else "dinov2."
    return hf_dinov2(model, name if classifies else "", registers=registers)


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "official": official, "hf": hf}
