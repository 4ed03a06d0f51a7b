"""Each paper's architecture, composed of the parts: one file a paper."""

from .cait import CaiT
from .twins_svt import TwinsSVT
from .vit import ViT

__all__ = ["CaiT", "TwinsSVT", "ViT"]
