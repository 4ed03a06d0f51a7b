"""ViT: An Image is Worth 16x16 Words (arXiv:2010.11929)."""

from .model import VARIANTS, BlockOptions, BranchOptions, ViT, ViTOptions, vit_blocks

__all__ = ["VARIANTS", "BlockOptions", "BranchOptions", "ViT", "ViTOptions", "vit_blocks"]
