"""Token poolers: from ``(x, grid)`` to one vector an image, or to fewer tokens."""

from .attention_pool import AttentionPool
from .class_token import ClassPool
from .mean import ClassMeanPool, MeanPool, PrefixMeanPool, TokenMeanPool
from .sequence import SequencePool

__all__ = [
    "AttentionPool",
    "ClassMeanPool",
    "ClassPool",
    "MeanPool",
    "PrefixMeanPool",
    "SequencePool",
    "TokenMeanPool",
]
