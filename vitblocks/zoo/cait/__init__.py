"""CaiT: Going deeper with Image Transformers (arXiv:2103.17239).

Patches and class token have a part of the depth each: first patches attend to one another, then in the last blocks only the class token
learns, and reads the patches. Every branch is multiplied by a learned number for each channel that starts near zero (layer scale, which
comes from here), so that forty blocks and more train. Among patches, heads talk: their logits and their weights are mixed.
"""

from .model import VARIANTS, CaiT, layer_scale_init

__all__ = ["VARIANTS", "CaiT", "layer_scale_init"]
