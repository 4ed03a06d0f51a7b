"""ViT: An Image is Worth 16x16 Words (arXiv:2010.11929).

An image is cut into patches, each patch is a word, and a plain transformer reads them; hardly anything in it knows that the words form a
picture. That needs very much data, and rewards it. Positions are learned, and interpolated where a model meets larger images.
"""

from .model import VARIANTS, BlockOptions, BranchOptions, ViT, ViTOptions, vit_blocks

__all__ = ["VARIANTS", "BlockOptions", "BranchOptions", "ViT", "ViTOptions", "vit_blocks"]
