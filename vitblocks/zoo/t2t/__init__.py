"""T2T-ViT: Tokens-to-Token ViT, Training Vision Transformers from Scratch on ImageNet (arXiv:2101.11986).

Patches that are cut once know nothing of edges and lines. Here tokens are made three times over: overlapping neighbourhoods of the map
are unfolded into tokens, which attend to one another before the next cut. What follows is deeper and narrower than ViT, and trains on
ImageNet alone.
"""

from .model import VARIANTS, T2TViT, T2TViTOptions
from .parts import TokenTransformer, Unfold, UnfoldEmbed, token_performer

__all__ = ["VARIANTS", "T2TViT", "T2TViTOptions", "TokenTransformer", "Unfold", "UnfoldEmbed", "token_performer"]
