"""Surgery: change the layers of a model that is already trained."""

from .pool import NormAfter
from .prune import prune
from .record import swaps_of
from .report import LayerSwap, SwapDrift, SwapReport
from .swap import reapply, swap, swap_attention

__all__ = [
    "LayerSwap",
    "NormAfter",
    "SwapDrift",
    "SwapReport",
    "prune",
    "reapply",
    "swap",
    "swap_attention",
    "swaps_of",
]
