"""Surgery: change the layers of a model that is already trained."""

from .pool import NormAfter
from .prune import prune
from .record import swaps_of
from .report import Drift, LayerSwap, SwapReport
from .swap import reapply, swap, swap_attention

__all__ = ["Drift", "LayerSwap", "NormAfter", "SwapReport", "prune", "reapply", "swap", "swap_attention", "swaps_of"]
