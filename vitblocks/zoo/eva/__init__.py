"""EVA (arXiv:2211.07636) and EVA-02 (arXiv:2303.11331), and the CLIP towers of both (arXiv:2303.15389).

A large plain ViT learns to restore CLIP's features of patches that it does not see, from those that it sees. EVA-02 modernises the block:
rotary positions, a gated feed-forward, and norms within both branches. Their towers begin CLIP's training from such weights, which makes
it shorter and steadier.
"""

from .model import EVA, VARIANTS

__all__ = ["EVA", "VARIANTS"]
