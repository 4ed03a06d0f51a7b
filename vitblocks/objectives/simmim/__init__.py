"""SimMIM: A Simple Framework for Masked Image Modeling (arXiv:2111.09886).

Hidden squares are replaced by one learned token and stay in the sequence, so that windows and pyramids can be trained as well. The
prediction is a single Linear and the loss is the distance of raw pixels. Squares are larger than patches, or neighbours would give the
answer away.
"""

from .objective import SimMIM
from .parts import CopiedBias

__all__ = ["CopiedBias", "SimMIM"]
