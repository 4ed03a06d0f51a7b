"""How other libraries' distilled models are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...border import Origin, refuse_unless, timm, transformers
from ...checkpoint.rules import other_names
from ..pit import PiT
from ..pit.origins import timm_settings as pit_settings
from ..vit import ViT, origins as vit
from ..vit.layouts import hf_deit
from ..vit.origins import last_norms, timm_settings
from . import layouts

if TYPE_CHECKING:
    from ...model import Model


def read_deit(build: Callable[..., Model], module: Any) -> Model:
    """timm's VisionTransformerDistilled; in evaluation its output is the mean of both heads, as ours always is."""
    classes = both_heads(module)
    refuse_unless(not module.no_embed_class, module, "no_embed_class", True)
    refuse_unless(module.num_reg_tokens == 0, module, "reg_tokens", module.num_reg_tokens)
    last = [*last_norms(module)]
    refuse_unless(last == ["norm"], module, "last norms", last)
    return build(**timm_settings(module), num_classes=classes)


def read_pit(build: Callable[..., Model], module: Any) -> Model:
    """timm's PoolingVisionTransformer, which is distilled or not: then it becomes a plain :class:`PiT`."""
    if module.head_dist is None:
        return PiT(**pit_settings(module), num_classes=timm.head(module))
    return build(**pit_settings(module), num_classes=both_heads(module))


def both_heads(module: Any) -> int:
    """The classes of two heads."""
    classes = timm.head(module)
    refuse_unless(timm.head(module, "head_dist") == classes, module, "head_dist", module.head_dist)
    return classes


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' DeiTForImageClassificationWithTeacher, whose logits are the mean of both heads' in evaluation and training."""
    classes = transformers.classes(module, "cls_classifier", "distillation_classifier")
    return transformers.without_inner_dropout(build(**transformers.vit_settings(module), num_classes=classes))


def read_hf_class_token(build: Callable[..., Model], module: Any) -> Model:
    """transformers' DeiTForImageClassification, which reads the class token alone: a ViT with two tokens."""
    return vit.read_hf(partial(ViT, prefix_tokens=2), module)


def read_hf_base(build: Callable[..., Model], module: Any) -> Model:
    """transformers' DeiTModel, as its ViTModel but for the second token."""
    return vit.read_hf_base(partial(ViT, prefix_tokens=2), module)


_HF = "transformers.models.deit.modeling_deit"

VIT_ORIGINS = {
    "timm.models.deit.VisionTransformerDistilled": Origin("timm", read_deit),
    f"{_HF}.DeiTModel": Origin(other_names(hf_deit("")), read_hf_base, transformers.features_of_any_size),
    f"{_HF}.DeiTForImageClassification": Origin(
        other_names(hf_deit("deit.")), read_hf_class_token, transformers.logits_of_any_size
    ),
    f"{_HF}.DeiTForImageClassificationWithTeacher": Origin(
        other_names(layouts.hf), read_hf, transformers.logits_of_any_size
    ),
}
PIT_ORIGINS = {"timm.models.pit.PoolingVisionTransformer": Origin("timm", read_pit)}
