"""Swin: Hierarchical Vision Transformer using Shifted Windows (arXiv:2103.14030).

Attention stays in windows, so that its cost grows linearly with the image. In every other block the windows are shifted by half, and so
neighbouring windows exchange what they know. Patches merge between stages, which gives the pyramid of maps that detectors were built for.
"""

from .model import VARIANTS, Swin
from .parts import JointlyShiftedWindows, RolledWindows

__all__ = ["VARIANTS", "JointlyShiftedWindows", "RolledWindows", "Swin"]
