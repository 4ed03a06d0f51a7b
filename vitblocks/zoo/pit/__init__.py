"""PiT: Rethinking Spatial Dimensions of Vision Transformers (arXiv:2103.16302)."""

from .model import VARIANTS, PiT, PiTOptions
from .parts import PoolingDownsample

__all__ = ["VARIANTS", "PiT", "PiTOptions", "PoolingDownsample"]
