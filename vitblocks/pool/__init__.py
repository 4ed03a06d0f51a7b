"""Token poolers: from ``(x, grid)`` to one vector an image, or to fewer tokens."""

from .adaptive_sampling import (
    DROPPED,
    AdaptiveSampling,
    KeepPadding,
    SampledBlock,
    TokenSampler,
    TrimPadding,
    original_ids,
)
from .attention_pool import AttentionPool
from .class_token import ClassPool
from .mean import MeanPool, PrefixMeanPool
from .sequence import SequencePool

__all__ = [
    "DROPPED",
    "AdaptiveSampling",
    "AttentionPool",
    "ClassPool",
    "KeepPadding",
    "MeanPool",
    "PrefixMeanPool",
    "SampledBlock",
    "SequencePool",
    "TokenSampler",
    "TrimPadding",
    "original_ids",
]
