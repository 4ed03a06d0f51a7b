"""FlexiViT: One Model for All Patch Sizes (arXiv:2212.08013): a ViT whose patches alone have positions.

In training each step draws another patch size, so one set of weights serves them all: large patches for speed, small ones for accuracy.
Patch embeddings are resized by the pseudo-inverse of how the image would be, which keeps their products with it.

Its weights take patches of every size: ``create_model("flexivit_small", patch_size=24)`` loads them with
``load(..., adapt={"patch_size": "pseudo-inverse"}, resize=True)``, which resizes patches (Section 3.4) and positions.
"""

from __future__ import annotations

from ..registry import Variant, Variants
from .vit import ViT

_WIDTHS = {
    "small": {"dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536},
    "base": {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072},
    "large": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
}

# Of 240 pixels, which many sizes of patches divide; published at one of 16.
VARIANTS: Variants = {
    f"flexivit_{width}": Variant(ViT, {"image_size": 240, "patch_size": 16, "prefix_positions": False, **sizes})
    for width, sizes in _WIDTHS.items()
}
