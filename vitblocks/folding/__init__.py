"""Models for inference: the same outputs by fewer steps."""

from .fold import Folded, fold
from .report import Fold, FoldReport

__all__ = ["Fold", "FoldReport", "Folded", "fold"]
