"""Swin: Hierarchical Vision Transformer using Shifted Windows (arXiv:2103.14030)."""

from .model import Swin
from .parts import JointlyShiftedWindows, RolledWindows

__all__ = ["JointlyShiftedWindows", "RolledWindows", "Swin"]
