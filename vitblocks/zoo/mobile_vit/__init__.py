"""MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer (arXiv:2110.02178)."""

from .model import VARIANTS, MobileViT
from .parts import ConvFusion, Interleaved, ResizeToMultiple

__all__ = ["VARIANTS", "ConvFusion", "Interleaved", "MobileViT", "ResizeToMultiple"]
