"""LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference (arXiv:2104.01136).

Built for speed: the image shrinks by convolutions at first, and the tokens shrink twice more by attention whose queries are a quarter of
its keys. Each pair of tokens has a learned bias of its distance in place of positions. Norms are BatchNorm throughout, which goes into
the Linear before it once training is done.
"""

from .model import VARIANTS, LeViT, LeViTStage
from .parts import DownsamplingAttention, Shrink, norm_head

__all__ = ["VARIANTS", "DownsamplingAttention", "LeViT", "LeViTStage", "Shrink", "norm_head"]
