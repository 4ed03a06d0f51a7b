"""ATS: Adaptive Token Sampling for Efficient Vision Transformers (arXiv:2111.15667)."""

from .model import ATSViT, ViT
from .parts import (
    DROPPED,
    AdaptiveSampling,
    KeepPadding,
    SampledBlock,
    SmoothedSoftmaxAttend,
    TokenSampler,
    TrimPadding,
    original_ids,
)

__all__ = [
    "DROPPED",
    "ATSViT",
    "AdaptiveSampling",
    "KeepPadding",
    "SampledBlock",
    "SmoothedSoftmaxAttend",
    "TokenSampler",
    "TrimPadding",
    "ViT",
    "original_ids",
]
