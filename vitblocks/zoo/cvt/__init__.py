"""CvT: Introducing Convolutions to Vision Transformers (arXiv:2103.15808)."""

from .model import VARIANTS, CvT

__all__ = ["VARIANTS", "CvT"]
