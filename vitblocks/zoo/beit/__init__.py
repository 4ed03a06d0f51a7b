"""BEiT: BERT Pre-Training of Image Transformers (arXiv:2106.08254), and BEiT v2 (arXiv:2208.06366)."""

from .model import VARIANTS, BEiT

__all__ = ["VARIANTS", "BEiT"]
