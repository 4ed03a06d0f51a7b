"""NesT: Nested Hierarchical Transformer (arXiv:2105.12723)."""

from .model import VARIANTS, NesT
from .parts import BlockAggregation, SameMaxPool2d

__all__ = ["VARIANTS", "BlockAggregation", "NesT", "SameMaxPool2d"]
