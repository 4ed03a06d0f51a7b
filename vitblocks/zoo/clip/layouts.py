"""Key maps of CLIP's towers of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.block import HF_SELF_ATTENTION_BLOCK
from ...checkpoint.rules import KeyMap, Rule, Table, within
from ...checkpoint.transforms import Compose, Unsqueeze
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import CLIP


def timm(model: CLIP) -> Table:
    """timm's VisionTransformer with ``pre_norm``; its head is the projection of the image, with a bias that is zero."""
    return (Rule("norm_pre.{p}", "stages.0.per_token_1.module.{p}"), *vit.timm(model))


def hf(model: CLIP) -> Table:
    """Hugging Face's CLIPVisionModelWithProjection, whose projection has no bias; without classes CLIPVisionModel."""
    name = "vision_model." if list(model.head.parameters()) else ""
    return (
        Rule(
            f"{name}embeddings.class_embedding",
            "stages.0.class_token.token",
            Compose(Unsqueeze(0), Unsqueeze(0)),
        ),
        Rule(f"{name}embeddings.position_embedding.weight", "stages.0.learned_position.table", Unsqueeze(0)),
        Rule(f"{name}embeddings.patch_embedding.{{p}}", "embed.conv.{p}"),
        Rule(f"{name}pre_layrnorm.{{p}}", "stages.0.per_token_1.module.{p}"),
        *within(f"{name}encoder.layers.{{b}}", "stages.0.blocks.{b}", HF_SELF_ATTENTION_BLOCK),
        Rule(f"{name}post_layernorm.{{p}}", "norm.{p}"),
        Rule("visual_projection.{p}", "head.{p}"),
    )


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
