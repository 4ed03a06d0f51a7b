"""ATS: Adaptive Token Sampling for Efficient Vision Transformers (arXiv:2111.15667).

A patch's score is the class token's attention to it times the norm of its value. Patches are read off at evenly spaced points of the sum
of all scores (Section 3.2), so few are kept where a few hold most of it: each image decides how many. Nothing in it is learned, so it can
be put into a ViT that is trained already.
"""

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
