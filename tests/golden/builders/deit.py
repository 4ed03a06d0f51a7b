"""DeiT with a distillation token."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.builders.vit import timm_sizes
from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import DistillableViT


def deit(config: Config) -> DistillableViT:
    config.only("global_pool", "token")
    config.only("class_token", True)
    return DistillableViT(**timm_sizes(config))


def logits_of(model: Any, case: Case, head: int) -> Tensor:
    """What one head of a distilled model says."""
    return model.head.each(model.forward_features(case.input))[head]


HEADS = {
    "logits_cls": lambda model, case: logits_of(model, case, 0),
    "logits_dist": lambda model, case: logits_of(model, case, 1),
}

BUILDERS = {("DeiT", "timm", r"\bVisionTransformerDistilled\b"): Builder(deit, HEADS)}
