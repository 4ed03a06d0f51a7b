"""PiT: Rethinking Spatial Dimensions of Vision Transformers (arXiv:2103.16302).

Convolutional networks shrink their maps and widen; this is a ViT that does, and nothing else. A depthwise convolution of stride 2 halves
the map between stages and doubles the channels, and the class token is widened alongside. A head keeps its channels, so there are more of
them with every stage.
"""

from .model import VARIANTS, PiT, PiTOptions
from .parts import PoolingDownsample

__all__ = ["VARIANTS", "PiT", "PiTOptions", "PoolingDownsample"]
