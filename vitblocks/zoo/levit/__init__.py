"""LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference (arXiv:2104.01136)."""

from .model import VARIANTS, LeViT, LeViTStage
from .parts import DownsamplingAttention, Shrink, norm_head

__all__ = ["VARIANTS", "DownsamplingAttention", "LeViT", "LeViTStage", "Shrink", "norm_head"]
