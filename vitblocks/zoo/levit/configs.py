"""transformers' configs of LeViT."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...border.configs import Config, classes_of, require
from .parts import Shrink

if TYPE_CHECKING:
    from .model import LeViT


def levit(config: Config, *, classifies: bool, distilled: bool = False) -> LeViT:
    """With transformers' defaults. What is between its stages is made of the sizes of the stages.

    Raises:
        ValueError: another stem, or an attention without a feed-forward after it, for which there is no part.
    """
    from .model import LeViT

    require(config, kernel_size=3, stride=2, padding=1, patch_size=16)
    dims, keys = list(config.get("hidden_sizes", (128, 256, 384))), config.get("key_dim", (16, 16, 16))
    mults = config.get("mlp_ratio", (2, 2, 2))
    if min(mults) <= 0:
        raise ValueError(f"mlp_ratio must be above 0, got {mults}")
    return LeViT(
        image_size=config.get("image_size", 224),
        num_classes=classes_of(config) if classifies else 0,
        channels=config.get("num_channels", 3),
        dim=dims,
        depth=config.get("depths", (4, 4, 4)),
        stages=len(dims),
        heads=config.get("num_attention_heads", (4, 8, 12)),
        key_dim=keys,
        attn_ratio=config.get("attention_ratio", (2, 2, 2)),
        mlp_mult=mults,
        shrinks=[Shrink(keys[0])] * (len(dims) - 1),
        distilled=distilled,
    )


CONFIGS = {
    "LevitModel": partial(levit, classifies=False),
    "LevitForImageClassification": partial(levit, classifies=True),
    "LevitForImageClassificationWithTeacher": partial(levit, classifies=True, distilled=True),
}
