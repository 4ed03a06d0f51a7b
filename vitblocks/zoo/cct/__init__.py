"""CCT, and with it CVT and ViT-Lite: Escaping the Big Data Paradigm with Compact Transformers (arXiv:2104.05704)."""

from .model import CCT, CCTOptions, CompactTransformer, CompactViT, ViTLite, ViTLiteOptions
from .parts import CompactBlock
from .variants import VARIANTS, cct_2, cct_4, cct_6, cct_7, cct_8, cct_14, cct_16

__all__ = [
    "CCT",
    "VARIANTS",
    "CCTOptions",
    "CompactBlock",
    "CompactTransformer",
    "CompactViT",
    "ViTLite",
    "ViTLiteOptions",
    "cct_2",
    "cct_4",
    "cct_6",
    "cct_7",
    "cct_8",
    "cct_14",
    "cct_16",
]
