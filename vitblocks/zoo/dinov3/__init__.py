"""DINOv3 (arXiv:2508.10104)."""

from .model import VARIANTS, DINOv3

__all__ = ["VARIANTS", "DINOv3"]
