"""DeiT III: Revenge of the ViT (arXiv:2204.07118)."""

from .model import VARIANTS, DeiT3

__all__ = ["VARIANTS", "DeiT3"]
