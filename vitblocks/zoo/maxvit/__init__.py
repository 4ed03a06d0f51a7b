"""MaxViT: Multi-Axis Vision Transformer (arXiv:2204.01697).

Attention over a whole map at linear cost, in two steps: among the tokens of a window, then among the tokens of a sparse grid laid over
the map. So every block sees everywhere, from the first stage on. A mobile convolution before both keeps neighbours in order.
"""

from .model import VARIANTS, MaxViT
from .parts import ConvNeXtBlock, MBConv

__all__ = ["VARIANTS", "ConvNeXtBlock", "MBConv", "MaxViT"]
