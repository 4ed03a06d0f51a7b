"""ATS: Adaptive Token Sampling for Efficient Vision Transformers (arXiv:2111.15667).

A patch's score is the class token's attention to it times the norm of its value. Patches are read off at evenly spaced points of the sum
of all scores (Section 3.2), so few are kept where a few hold most of it: each image decides how many. Nothing in it is learned, so it can
be put into a ViT that is trained already.
"""

from ...inspect.kept import DROPPED, original_ids
from .model import ATSViT, ViT
from .parts import (
    AdaptiveSampling,
    KeepPadding,
    SampledBlock,
    SmoothedSoftmaxAttend,
    TokenSampler,
    TrimPadding,
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
