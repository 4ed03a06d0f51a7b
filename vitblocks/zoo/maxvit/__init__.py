"""MaxViT: Multi-Axis Vision Transformer (arXiv:2204.01697)."""

from .model import VARIANTS, MaxViT
from .parts import ConvNeXtBlock, MBConv

__all__ = ["VARIANTS", "ConvNeXtBlock", "MBConv", "MaxViT"]
