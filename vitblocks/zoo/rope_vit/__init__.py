"""RoPE-ViT: Rotary Position Embedding for Vision Transformer (arXiv:2403.13298).

Rotary positions, known from language, in two dimensions. Axial ones turn some channels by the row and some by the column; mixed ones
learn for every head and channel along which direction to turn, and so hold diagonals as well. The gain shows at resolutions higher than
in training.
"""

from .model import VARIANTS, RoPEViT

__all__ = ["VARIANTS", "RoPEViT"]
