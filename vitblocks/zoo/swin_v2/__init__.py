"""Swin V2: Swin Transformer V2: Scaling Up Capacity and Resolution (arXiv:2111.09883)."""

from .model import VARIANTS, SwinV2
from .parts import AlwaysShiftedWindows

__all__ = ["VARIANTS", "AlwaysShiftedWindows", "SwinV2"]
