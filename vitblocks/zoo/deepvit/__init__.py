"""DeepViT: Towards Deeper Vision Transformer (arXiv:2103.11886).

In a deep ViT the attention of later blocks becomes the same map again and again, and more depth stops paying. Re-attention mixes the maps
of all heads by a learned matrix and normalises what comes out, so that maps stay different. It costs next to nothing, because heads
differ within a block even where blocks are alike.
"""

from .model import VARIANTS, DeepViT, DeepViTOptions, deepvit_with_stem
from .parts import PatchStem, RescaledBlock

__all__ = ["VARIANTS", "DeepViT", "DeepViTOptions", "PatchStem", "RescaledBlock", "deepvit_with_stem"]
