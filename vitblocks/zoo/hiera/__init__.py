"""Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles (arXiv:2306.00989), and its abswin (arXiv:2311.05613)."""

from .model import VARIANTS, Hiera
from .parts import DoublingBlock, ExpandingBlock, QueryPoolingAttention

__all__ = ["VARIANTS", "DoublingBlock", "ExpandingBlock", "Hiera", "QueryPoolingAttention"]
