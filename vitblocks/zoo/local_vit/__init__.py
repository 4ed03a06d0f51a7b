"""LocalViT: Bringing Locality to Vision Transformers (arXiv:2104.05707).

A feed-forward is two convolutions of one pixel. With a depthwise convolution between them it is the inverted residual of mobile networks,
and neighbouring patches meet in every block. The class token, which has no neighbours, goes around it.
"""

from .model import VARIANTS, LocalViT

__all__ = ["VARIANTS", "LocalViT"]
