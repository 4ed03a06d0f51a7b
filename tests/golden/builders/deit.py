"""DeiT with a distillation token."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.builders.vit import hf_sizes, timm_sizes
from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import DistillableViT


def deit(config: Config) -> DistillableViT:
    config.only("global_pool", "token")
    config.only("class_token", True)
    return DistillableViT(**timm_sizes(config))


def hf(config: Config) -> DistillableViT:
    config.unaffected_by("pooler_output_size", "pooler_act")  # it has no pooler
    return DistillableViT(num_classes=config["num_labels"], **hf_sizes(config))


def logits_of(model: Any, case: Case, head: int) -> Tensor:
    """What one head of a distilled model says."""
    return model.head.each(model.forward_features(case.input))[head]


HEADS = {
    "logits_cls": lambda model, case: logits_of(model, case, 0),
    "logits_dist": lambda model, case: logits_of(model, case, 1),
}

HF_HEADS = {"cls_logits": HEADS["logits_cls"], "distillation_logits": HEADS["logits_dist"]}

BUILDERS = {
    ("DeiT", "timm", r"\bVisionTransformerDistilled\b"): Builder(deit, HEADS),
    ("DeiT, distilled", "hf", r"\bDeiTForImageClassificationWithTeacher\b"): Builder(hf, HF_HEADS),
}
