"""CaiT: Going deeper with Image Transformers (arXiv:2103.17239)."""

from .model import VARIANTS, CaiT, layer_scale_init

__all__ = ["VARIANTS", "CaiT", "layer_scale_init"]
