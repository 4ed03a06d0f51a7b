"""CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification (arXiv:2103.14899).

Two transformers look at one image, one in small patches and one in large. Now and then the class token of each asks the other's patches
and goes home with what it read, which costs only as much as there are patches. The logits of both branches are averaged.
"""

from .model import VARIANTS, CrossViT
from .parts import Branch, ClassFusion, MultiScaleBlock, Rescale, ResizeTo, ThreeConvStem

__all__ = ["VARIANTS", "Branch", "ClassFusion", "CrossViT", "MultiScaleBlock", "Rescale", "ResizeTo", "ThreeConvStem"]
