"""Each paper's architecture, composed of the parts: one file a paper."""

from .cait import CaiT
from .cct import CCT, CompactViT, ViTLite, cct_2, cct_4, cct_6, cct_7, cct_8, cct_14, cct_16
from .deepvit import DeepViT
from .distill import DistillableEfficientViT, DistillablePiT, DistillableT2TViT, DistillableViT
from .efficient import ViT as EfficientViT
from .local_vit import LocalViT
from .mobile_vit import MobileViT
from .nest import NesT
from .pit import PiT
from .swin import Swin
from .t2t import T2TViT
from .twins_svt import TwinsSVT
from .vit import ViT

__all__ = [
    "CCT",
    "CaiT",
    "CompactViT",
    "DeepViT",
    "DistillableEfficientViT",
    "DistillablePiT",
    "DistillableT2TViT",
    "DistillableViT",
    "EfficientViT",
    "LocalViT",
    "MobileViT",
    "NesT",
    "PiT",
    "Swin",
    "T2TViT",
    "TwinsSVT",
    "ViT",
    "ViTLite",
    "cct_2",
    "cct_4",
    "cct_6",
    "cct_7",
    "cct_8",
    "cct_14",
    "cct_16",
]
