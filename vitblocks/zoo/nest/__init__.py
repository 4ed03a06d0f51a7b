"""NesT: Nested Hierarchical Transformer (arXiv:2105.12723).

An image is cut into blocks, and plain attention stays within its block. Between levels a convolution and a pool across the whole map join
four blocks to one, and this is where blocks learn of each other. That simple tree learns well from little data.
"""

from .model import VARIANTS, NesT
from .parts import BlockAggregation, SameMaxPool2d

__all__ = ["VARIANTS", "BlockAggregation", "NesT", "SameMaxPool2d"]
