"""DINOv2: Learning Robust Visual Features without Supervision (arXiv:2304.07193), and its registers (arXiv:2309.16588)."""

from .model import VARIANTS, DINOv2

__all__ = ["VARIANTS", "DINOv2"]
