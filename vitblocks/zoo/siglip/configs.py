"""transformers' configs of SigLIP's and SigLIP 2's towers of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, Any, Literal

from ...border.configs import Config, activation, classes_of, tower_of
from ...embed import LinearEmbed
from ...norm import layer_norm
from ...position import resize_table

if TYPE_CHECKING:
    from .model import SigLIP


def _siglip(config: Config, *, classifies: bool, any_size: bool = False) -> SigLIP:
    """With transformers' defaults; dropout is left out, which is for training.

    That of SigLIP 2 for images of ``any_size`` embeds patches by a Linear. Raises ValueError where its positions are of no square.
    """
    from .model import SigLIP

    tower = tower_of(config)
    pool: Literal["map", "mean"] = "mean" if classifies or not tower.get("vision_use_head", True) else "map"
    return SigLIP(
        **(_patches(tower) if any_size else _pixels(tower)),
        num_classes=classes_of(config) if classifies else 0,
        dim=tower.get("hidden_size", 768),
        depth=tower.get("num_hidden_layers", 12),
        heads=tower.get("num_attention_heads", 12),
        mlp_dim=tower.get("intermediate_size", 3072),
        pool=pool,
        channels=tower.get("num_channels", 3),
        norm=layer_norm(tower.get("layer_norm_eps", 1e-6)),
        activation=activation(tower.get("hidden_act", "gelu_pytorch_tanh")),
    )


def _pixels(tower: Config) -> dict[str, Any]:
    sizes = {"image_size": tower.get("image_size", 224), "patch_size": tower.get("patch_size", 16)}
    return {**sizes, "remainder": "drop"}


def _patches(tower: Config) -> dict[str, Any]:
    places, patch = tower.get("num_patches", 256), tower.get("patch_size", 16)
    if not isinstance(places, int) or places < 1 or isqrt(places) ** 2 != places:
        raise ValueError(f"num_patches must be a square, got {places!r}")
    return {
        "image_size": patch * isqrt(places),
        "patch_size": patch,
        "embed": LinearEmbed(patch, tower.get("hidden_size", 768), channels=tower.get("num_channels", 3)),
        "resize": partial(resize_table, mode="bilinear", antialias=True),
    }


CONFIGS: dict[str, Callable[[Config], SigLIP]] = {
    "SiglipVisionModel": partial(_siglip, classifies=False),
    "SiglipModel": partial(_siglip, classifies=False),
    "SiglipForImageClassification": partial(_siglip, classifies=True),
    "Siglip2VisionModel": partial(_siglip, classifies=False, any_size=True),
    "Siglip2Model": partial(_siglip, classifies=False, any_size=True),
    "Siglip2ForImageClassification": partial(_siglip, classifies=True, any_size=True),
}
