"""RoPE-ViT: Rotary Position Embedding for Vision Transformer (arXiv:2403.13298)."""

from .model import VARIANTS, RoPEViT

__all__ = ["VARIANTS", "RoPEViT"]
