"""DeepViT: Towards Deeper Vision Transformer (arXiv:2103.11886)."""

from .model import VARIANTS, DeepViT, DeepViTOptions, deepvit_with_stem
from .parts import PatchStem, RescaledBlock

__all__ = ["VARIANTS", "DeepViT", "DeepViTOptions", "PatchStem", "RescaledBlock", "deepvit_with_stem"]
