"""EVA (arXiv:2211.07636) and EVA-02 (arXiv:2303.11331), and the CLIP towers of both (arXiv:2303.15389)."""

from .model import EVA, VARIANTS

__all__ = ["EVA", "VARIANTS"]
