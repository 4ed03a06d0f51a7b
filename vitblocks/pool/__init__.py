"""Token poolers: from ``(x, grid)`` to one vector an image, or to fewer tokens."""

from .attention_pool import AttentionPool
from .class_token import ClassPool
from .mean import MeanPool, PrefixMeanPool
from .sequence import SequencePool

__all__ = [
    "AttentionPool",
    "ClassPool",
    "MeanPool",
    "PrefixMeanPool",
    "SequencePool",
]
