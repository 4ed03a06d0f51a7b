"""Swin V2: Swin Transformer V2: Scaling Up Capacity and Resolution (arXiv:2111.09883).

Three changes make Swin grow in size and resolution. Norms stand at the ends of the branches, so that amplitudes do not pile up with
depth; attention compares by cosine, so that no pair rules it. Biases are computed from logarithms of the offsets by a small network, so
that weights of one window size work at another.
"""

from .model import VARIANTS, SwinV2
from .parts import AlwaysShiftedWindows

__all__ = ["VARIANTS", "AlwaysShiftedWindows", "SwinV2"]
