"""Pictures for papers and for looking: every function returns a matplotlib :class:`~matplotlib.figure.Figure`, never shown nor saved.

Needs the extra ``viz``: ``pip install 'vitblocks[viz]'``. ``figure.savefig("name.pdf")`` writes it; nothing here touches pyplot.

Images are ``(B, C, H, W)`` with 1 or 3 channels. Values from 0 to 1 are drawn as they are, bytes as 255ths; of other images, such as
normalised ones, the smallest value of the batch is drawn as 0 and the largest as 1, all channels alike.

Maps lie on any grid that covers the image. Each is drawn from 0 to its own largest weight, which stands below it, negative weights as 0.
"""

from ..extras import extra

with extra("matplotlib", "vitblocks.viz"):
    import matplotlib  # noqa: F401

from .features import feature_picture, principal_colours
from .maps import class_attention_picture, gradient_rollout_picture, head_grid, overlay, rollout_picture
from .stages import stage_diagram
from .tokens import kept_tokens_picture, mask_picture

__all__ = [
    "class_attention_picture",
    "feature_picture",
    "gradient_rollout_picture",
    "head_grid",
    "kept_tokens_picture",
    "mask_picture",
    "overlay",
    "principal_colours",
    "rollout_picture",
    "stage_diagram",
]
