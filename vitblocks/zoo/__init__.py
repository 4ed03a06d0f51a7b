"""Each paper in one place: its architecture, composed of the parts, the parts that only it uses, its variants and key maps."""

from .ats_vit import ATSViT
from .beit import BEiT
from .cait import CaiT
from .cct import CCT, CompactViT, ViTLite, cct_2, cct_4, cct_6, cct_7, cct_8, cct_14, cct_16
from .clip import CLIP
from .cross_vit import CrossViT
from .crossformer import CrossFormer
from .cvt import CvT
from .deepvit import DeepViT
from .deit3 import DeiT3
from .dinov2 import DINOv2
from .dinov3 import DINOv3
from .distill import DistillableEfficientViT, DistillablePiT, DistillableT2TViT, DistillableViT
from .efficient import EfficientViT
from .eva import EVA
from .hiera import Hiera
from .levit import LeViT
from .local_vit import LocalViT
from .maxvit import MaxViT
from .mobile_vit import MobileViT
from .nest import NesT
from .pit import PiT
from .regionvit import RegionViT
from .rope_vit import RoPEViT
from .sam import SAMViT
from .siglip import SigLIP
from .swin import Swin
from .swin_v2 import SwinV2
from .t2t import T2TViT
from .twins_svt import TwinsPCPVT, TwinsSVT
from .vit import ViT
from .xcit import XCiT

__all__ = [
    "CCT",
    "CLIP",
    "EVA",
    "ATSViT",
    "BEiT",
    "CaiT",
    "CompactViT",
    "CrossFormer",
    "CrossViT",
    "CvT",
    "DINOv2",
    "DINOv3",
    "DeepViT",
    "DeiT3",
    "DistillableEfficientViT",
    "DistillablePiT",
    "DistillableT2TViT",
    "DistillableViT",
    "EfficientViT",
    "Hiera",
    "LeViT",
    "LocalViT",
    "MaxViT",
    "MobileViT",
    "NesT",
    "PiT",
    "RegionViT",
    "RoPEViT",
    "SAMViT",
    "SigLIP",
    "Swin",
    "SwinV2",
    "T2TViT",
    "TwinsPCPVT",
    "TwinsSVT",
    "ViT",
    "ViTLite",
    "XCiT",
    "cct_2",
    "cct_4",
    "cct_6",
    "cct_7",
    "cct_8",
    "cct_14",
    "cct_16",
]
