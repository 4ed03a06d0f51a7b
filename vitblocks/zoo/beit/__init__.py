"""BEiT: BERT Pre-Training of Image Transformers (arXiv:2106.08254), and BEiT v2 (arXiv:2208.06366).

A ViT learns to name the visual tokens of patches that it does not see, as BERT does with words; the tokens are those of a discrete
autoencoder, in v2 of a tokenizer that was itself taught to restore a teacher's features. The class token takes part in the relative
positions of every block, and there are no absolute ones. Keys have no bias, and layer scale keeps deep models stable.
"""

from .model import VARIANTS, BEiT

__all__ = ["VARIANTS", "BEiT"]
