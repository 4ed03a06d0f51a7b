"""MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer (arXiv:2110.02178).

A transformer takes the place of the products in a convolution: the map is unfolded into small patches, pixels at the same place of every
patch attend to one another, and it is folded again. A convolution before knows the neighbourhood, and one behind joins what came in. Most
of the rest is MobileNetV2, so a few million parameters are enough, and there are no positions.
"""

from .model import VARIANTS, MobileViT
from .parts import ConvFusion, Interleaved, ResizeToMultiple

__all__ = ["VARIANTS", "ConvFusion", "Interleaved", "MobileViT", "ResizeToMultiple"]
