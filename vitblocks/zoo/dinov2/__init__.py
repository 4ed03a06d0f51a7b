"""DINOv2: Learning Robust Visual Features without Supervision (arXiv:2304.07193), and its registers (arXiv:2309.16588).

A student learns a teacher's view of whole images and of masked patches at once, on 142 million images that were chosen by their likeness
to curated ones. Its features serve frozen, for classes as for depth and segments. The smaller models are distilled from the largest, and
registers, tokens without a place, take over the scratch space that large models otherwise make of background patches.
"""

from .model import VARIANTS, DINOv2

__all__ = ["VARIANTS", "DINOv2"]
