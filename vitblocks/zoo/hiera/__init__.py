"""Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles (arXiv:2306.00989), and its abswin (arXiv:2311.05613).

Multi-scale transformers had gathered convolutions, relative positions and pooled keys; masked autoencoding teaches what these were for,
so they go. What stays is attention in windows of the same part of the image, then globally, and queries that are pooled between stages.
Hidden windows are left out of the computation, and abswin splits positions into a part for the window and a part for the map, so that
other sizes work.
"""

from .model import VARIANTS, Hiera
from .parts import DoublingBlock, ExpandingBlock, QueryPoolingAttention

__all__ = ["VARIANTS", "DoublingBlock", "ExpandingBlock", "Hiera", "QueryPoolingAttention"]
