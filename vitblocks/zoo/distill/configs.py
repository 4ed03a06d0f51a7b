"""transformers' config of the distilled DeiT."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...border.configs import Config, classes_of
from ..vit.configs import settings

if TYPE_CHECKING:
    from ..vit import ViT
    from .model import DistillableViT


def both_heads(config: Config) -> DistillableViT:
    """DeiTForImageClassificationWithTeacher."""
    from .model import DistillableViT

    return DistillableViT(**settings(config), num_classes=classes_of(config))


VIT_CONFIGS: dict[str, Callable[[Config], ViT]] = {"DeiTForImageClassificationWithTeacher": both_heads}
