"""DeiT with a distillation token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import DistillableViT


def deit(config: dict[str, Any]) -> DistillableViT:
    dim = config["embed_dim"]
    return DistillableViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
    )


def logits_of(head: int) -> Callable[[Any, Case], Tensor]:
    """What one head of a distilled model says."""
    return lambda model, case: model.head.each(model.forward_features(case.input))[head]


HEADS = {"logits_cls": logits_of(0), "logits_dist": logits_of(1)}

BUILDERS = {"deit_distilled": Builder(deit, HEADS)}
