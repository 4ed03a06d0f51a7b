"""RegionViT: Regional-to-Local Attention for Vision Transformers (arXiv:2106.02689).

Each window of patches has a regional token, made from the image by a patch as large as the window. Regional tokens attend to one another
first, then each window attends to itself and to its regional token, by the same weights. So news travels across the whole image in every
block, and no windows need to shift.
"""

from .carried_padding import CarriedPadding, CarryPadding, DropPadding, PaddedRegionalAttention
from .model import VARIANTS, RegionViT
from .parts import DownsampleBothMaps, OnBothMaps, RegionalAttention, RegionalBlock, RegionalEmbed

__all__ = [
    "VARIANTS",
    "CarriedPadding",
    "CarryPadding",
    "DownsampleBothMaps",
    "DropPadding",
    "OnBothMaps",
    "PaddedRegionalAttention",
    "RegionViT",
    "RegionalAttention",
    "RegionalBlock",
    "RegionalEmbed",
]
