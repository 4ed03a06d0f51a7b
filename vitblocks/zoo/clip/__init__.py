"""CLIP: Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020): its towers of images.

An image tower and a text tower learn from 400 million pairs of the web which caption belongs to which image. A classifier is then written
rather than trained: the text tower's features of the class names. The tower of images is a ViT with a norm before its blocks, and a
projection into the space that both share in place of a head.
"""

from .model import CLIP
from .variants import VARIANTS

__all__ = ["CLIP", "VARIANTS"]
