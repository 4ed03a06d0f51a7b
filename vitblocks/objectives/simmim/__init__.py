"""SimMIM: A Simple Framework for Masked Image Modeling (arXiv:2111.09886)."""

from .objective import SimMIM
from .parts import CopiedBias

__all__ = ["CopiedBias", "SimMIM"]
