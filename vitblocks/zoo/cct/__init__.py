"""CCT, and with it CVT and ViT-Lite: Escaping the Big Data Paradigm with Compact Transformers (arXiv:2104.05704).

Transformers of few parameters that are trained on small data sets from scratch. Convolutions and pooling make overlapping tokens of any
image in place of patches. A learned weight for every token pools the sequence in place of a class token, and ViT-Lite, CVT and CCT take
these steps one by one.
"""

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
