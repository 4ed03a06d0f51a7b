"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020): its towers of images."""

from .model import CLIP
from .variants import VARIANTS

__all__ = ["CLIP", "VARIANTS"]
