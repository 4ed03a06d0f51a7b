"""T2T-ViT: Tokens-to-Token ViT, Training Vision Transformers from Scratch on ImageNet (arXiv:2101.11986)."""

from .model import VARIANTS, T2TViT, T2TViTOptions
from .parts import TokenTransformer, Unfold, UnfoldEmbed, token_performer

__all__ = ["VARIANTS", "T2TViT", "T2TViTOptions", "TokenTransformer", "Unfold", "UnfoldEmbed", "token_performer"]
