"""CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification (arXiv:2103.14899)."""

from .model import VARIANTS, CrossViT
from .parts import Branch, ClassFusion, MultiScaleBlock, Rescale, ResizeTo, ThreeConvStem

__all__ = ["VARIANTS", "Branch", "ClassFusion", "CrossViT", "MultiScaleBlock", "Rescale", "ResizeTo", "ThreeConvStem"]
