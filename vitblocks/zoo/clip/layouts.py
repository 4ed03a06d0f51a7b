"""Key maps of CLIP's towers of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ...checkpoint.block import HF_SELF_ATTENTION_BLOCK
from ...checkpoint.rules import Computed, KeyMap, Rule, Table, within
from ...checkpoint.transforms import Compose, Same, Transform, Unsqueeze
from ...pool import MeanPool
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import CLIP


def timm(model: CLIP) -> Table:
    """timm's VisionTransformer with ``pre_norm``; its head is the projection of the image, with a bias that is zero."""
    return (Rule("norm_pre.{p}", "stages.0.per_token_1.module.{p}"), *vit.timm(model))


def hf_clip(prefix: str, head: str, *, normed: bool = True, also: str = "") -> Table:
    """Hugging Face's tower of images under a prefix, with a ``head`` of this name.

    What ``head`` reads is ``normed``, or the last norm is there and nothing reads it. ``also`` is another prefix that is read.
    """

    def rule(theirs: str, ours: str, transform: Transform | None = None) -> Rule:
        return Rule(f"{prefix}{theirs}", ours, transform or Same(), also=f"{also}{theirs}" if also else ())

    layers = "encoder.layers.{b}"
    others = f"{also}{layers}" if also else ""
    return (
        rule("embeddings.class_embedding", "stages.0.class_token.token", Compose(Unsqueeze(0), Unsqueeze(0))),
        rule("embeddings.position_embedding.weight", "stages.0.learned_position.table", Unsqueeze(0)),
        rule("embeddings.patch_embedding.{p}", "embed.conv.{p}"),
        *(Computed(f"{name}embeddings.position_ids") for name in {prefix, also}),  # of transformers 4
        rule("pre_layrnorm.{p}", "stages.0.per_token_1.module.{p}"),
        *within(f"{prefix}{layers}", "stages.0.blocks.{b}", HF_SELF_ATTENTION_BLOCK, also=others),
        rule("post_layernorm.{p}", "norm.{p}") if normed else Computed(f"{prefix}post_layernorm.{{p}}"),
        Rule(f"{head}.{{p}}", "head.{p}"),
    )


TEXTS = (
    *(Computed(f"text_{name}.{{p}}") for name in ("model", "projection")),
    Computed("logit_scale"),
    Computed("logit_bias"),
)
"""What lies beside the tower of images in files of both towers."""


def hf(model: CLIP) -> Table:
    """Hugging Face's CLIPVisionModelWithProjection, whose projection has no bias; without classes CLIPVisionModel.

    Where the mean of the patches is read without a last norm, it is CLIPForImageClassification. Files of a whole CLIPModel are read, too.
    """
    if isinstance(model.pool, MeanPool):
        return hf_clip("vision_model.", "classifier", normed=False)
    if isinstance(model.head, nn.Linear):
        return (*hf_clip("vision_model.", "visual_projection"), *TEXTS)
    return (*hf_clip("", "head", also="vision_model."), *TEXTS, Computed("visual_projection.{p}"))


LAYOUTS: dict[str, KeyMap] = {"timm": timm, "hf": hf}
