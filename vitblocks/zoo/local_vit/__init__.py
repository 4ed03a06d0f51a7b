"""LocalViT: Bringing Locality to Vision Transformers (arXiv:2104.05707)."""

from .model import VARIANTS, LocalViT

__all__ = ["VARIANTS", "LocalViT"]
