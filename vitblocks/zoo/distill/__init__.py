"""DeiT: Training data-efficient image transformers & distillation through attention (arXiv:2012.12877)."""

from .model import VARIANTS, DistillableEfficientViT, DistillablePiT, DistillableT2TViT, DistillableViT, DistillWrapper

__all__ = [
    "VARIANTS",
    "DistillWrapper",
    "DistillableEfficientViT",
    "DistillablePiT",
    "DistillableT2TViT",
    "DistillableViT",
]
