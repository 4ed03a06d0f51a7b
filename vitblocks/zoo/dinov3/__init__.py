"""DINOv3 (arXiv:2508.10104).

The recipe of DINOv2, with a teacher of 7 billion parameters. In long training features of single patches lose their sharpness; the
likeness of patches to one another is therefore anchored to that of an earlier teacher (Gram anchoring). Positions turn queries and keys
by the patch's relative place, jittered in training, so that one model serves many resolutions.
"""

from .model import VARIANTS, DINOv3

__all__ = ["VARIANTS", "DINOv3"]
