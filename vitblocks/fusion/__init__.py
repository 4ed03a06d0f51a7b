"""Models for inference: folded, frozen for a size, and packed for the CPU they run on."""

from .fuse import Fused, fuse
from .report import Fold, FusionReport, Packing

__all__ = ["Fold", "Fused", "FusionReport", "Packing", "fuse"]
