"""Surgery: change the attention of a model that is already trained."""

from .report import Drift, LayerSwap, SwapReport
from .swap import swap_attention

__all__ = ["Drift", "LayerSwap", "SwapReport", "swap_attention"]
