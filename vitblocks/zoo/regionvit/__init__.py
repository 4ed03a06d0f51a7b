"""RegionViT: Regional-to-Local Attention for Vision Transformers (arXiv:2106.02689)."""

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
