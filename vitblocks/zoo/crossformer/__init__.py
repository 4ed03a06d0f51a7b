"""CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention (arXiv:2108.00154), and CrossFormer++ (arXiv:2303.06908).

Every embedding has kernels of several sizes around the same centre, so that a token holds several scales. Attention goes by turns to
neighbours and to tokens that lie at a fixed distance over the whole map, with keys and values at full resolution. The bias of positions
is a small network of the offset, which fits groups of any size; CrossFormer++ lets groups grow with depth and cools growing amplitudes.
"""

from .model import VARIANTS, CrossFormer
from .parts import CrossScaleConv, LongDistanceWindows

__all__ = ["VARIANTS", "CrossFormer", "CrossScaleConv", "LongDistanceWindows"]
