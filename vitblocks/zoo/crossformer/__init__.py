"""CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention (arXiv:2108.00154), and CrossFormer++ (arXiv:2303.06908)."""

from .model import VARIANTS, CrossFormer
from .parts import CrossScaleConv, LongDistanceWindows

__all__ = ["VARIANTS", "CrossFormer", "CrossScaleConv", "LongDistanceWindows"]
