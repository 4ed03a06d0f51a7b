"""Swin: Hierarchical Vision Transformer using Shifted Windows (arXiv:2103.14030)."""

from .model import Swin

__all__ = ["Swin"]
