"""DeiT: Training data-efficient image transformers & distillation through attention (arXiv:2012.12877).

ViT trained on ImageNet alone, without the hundreds of millions of images it took before: the gain is in augmentation and regularisation.
A distillation token beside the class token learns to say what a teacher says, best a convolutional one, and by its hard decision. In use
the answers of both tokens are averaged.
"""

from .model import VARIANTS, DistillableEfficientViT, DistillablePiT, DistillableT2TViT, DistillableViT, DistillWrapper

__all__ = [
    "VARIANTS",
    "DistillWrapper",
    "DistillableEfficientViT",
    "DistillablePiT",
    "DistillableT2TViT",
    "DistillableViT",
]
