"""Swin: Hierarchical Vision Transformer using Shifted Windows (arXiv:2103.14030)."""

from .model import VARIANTS, Swin
from .parts import JointlyShiftedWindows, RolledWindows

__all__ = ["VARIANTS", "JointlyShiftedWindows", "RolledWindows", "Swin"]
