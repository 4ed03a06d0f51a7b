"""XCiT: Cross-Covariance Image Transformers (arXiv:2106.09681).

Attention is transposed: channels attend to channels, by the likeness of their values over all tokens. So the cost is linear in tokens,
and images may be large. Because tokens no longer meet there, depthwise convolutions let neighbours meet, and blocks at the end let a
class token read the patches.
"""

from .model import VARIANTS, XCiT
from .parts import NormedClassBlock, local_patch_interaction

__all__ = ["VARIANTS", "NormedClassBlock", "XCiT", "local_patch_interaction"]
