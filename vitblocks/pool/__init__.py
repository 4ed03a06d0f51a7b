"""Token poolers: from ``(x, grid)`` to one vector an image, or to fewer tokens."""

from .adaptive_sampling import AdaptiveSampling, SampledBlock, TokenSampler, TrimPadding
from .attention_pool import AttentionPool
from .class_token import ClassPool
from .mean import MeanPool
from .sequence import SequencePool

__all__ = [
    "AdaptiveSampling",
    "AttentionPool",
    "ClassPool",
    "MeanPool",
    "SampledBlock",
    "SequencePool",
    "TokenSampler",
    "TrimPadding",
]
