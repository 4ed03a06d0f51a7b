"""XCiT: Cross-Covariance Image Transformers (arXiv:2106.09681)."""

from .model import VARIANTS, XCiT
from .parts import NormedClassBlock, local_patch_interaction

__all__ = ["VARIANTS", "NormedClassBlock", "XCiT", "local_patch_interaction"]
