"""Key maps of the distilled models: those of the plain ones, but for the second token and its head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...checkpoint.rules import KeyMap, Rule, Table
from ...checkpoint.transforms import Concat
from ..pit import layouts as pit
from ..vit import layouts as vit

if TYPE_CHECKING:
    from .model import DistillablePiT, DistillableViT


HEADS = (
    Rule("head.{p}", "head.heads.0.{p}"),
    Rule("head_dist.{p}", "head.heads.1.{p}"),
)
TOKENS = Rule(("cls_token", "dist_token"), "stages.0.class_token.token", Concat(2, dim=1))


def deit(model: DistillableViT) -> Table:
    """timm's VisionTransformerDistilled and the authors' DistilledVisionTransformer, which have the same names."""
    return (TOKENS, *HEADS, *vit.timm(model))


def hf(model: DistillableViT) -> Table:
    """Hugging Face's DeiTForImageClassificationWithTeacher."""
    return (
        Rule("cls_classifier.{p}", "head.heads.0.{p}"),
        Rule("distillation_classifier.{p}", "head.heads.1.{p}"),
        *vit.hf_deit("deit."),
    )


def pit_timm(model: DistillablePiT) -> Table:
    """timm's, with both tokens in one parameter."""
    return (*HEADS, *pit.timm(model))


def pit_official(model: DistillablePiT) -> Table:
    """The authors' DistilledPoolingTransformer."""
    return (*HEADS, *pit.official(model))


VIT_LAYOUTS: dict[str, KeyMap] = {"timm": deit, "official": deit, "hf": hf}
PIT_LAYOUTS: dict[str, KeyMap] = {"timm": pit_timm, "official": pit_official}
