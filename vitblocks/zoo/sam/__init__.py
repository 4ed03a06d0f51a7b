"""The image encoder of Segment Anything (arXiv:2304.02643), a ViTDet backbone (arXiv:2203.16527)."""

from .model import VARIANTS, SAMViT, neck

__all__ = ["VARIANTS", "SAMViT", "neck"]
