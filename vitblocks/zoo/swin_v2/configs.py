"""transformers' configs of Swin V2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, activation, classes_of, require
from ...norm import layer_norm

if TYPE_CHECKING:
    from .model import SwinV2


def classifier(config: Config) -> SwinV2:
    """Swinv2ForImageClassification, with transformers' defaults; dropout is left out, which is for training."""
    return _swin_v2(config, classes_of(config))


def base(config: Config) -> SwinV2:
    """Swinv2Model: the mean of all patches."""
    return _swin_v2(config, 0)


def _swin_v2(config: Config, num_classes: int) -> SwinV2:
    """Raises ValueError for positions of patches, and for norms that differ in their epsilon, for which there is no part."""
    from .model import SwinV2

    require(config, use_absolute_embeddings=False, layer_norm_eps=1e-5)
    depths = list(config.get("depths", (2, 2, 6, 2)))
    trained = config.get("pretrained_window_sizes") or [0] * len(depths)
    return SwinV2(
        num_classes=num_classes,
        patch_size=config.get("patch_size", 4),
        dim=config.get("embed_dim", 96),
        depths=depths,
        heads=config.get("num_heads", (3, 6, 12, 24)),
        window=config.get("window_size", 7),
        pretrained_windows=trained[: len(depths)],  # the default there is one for each of four stages
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("num_channels", 3),
        qkv_bias=config.get("qkv_bias", True),
        image_size=config.get("image_size", 224),
        activation=activation(config.get("hidden_act", "gelu")),
        padding="hf",
        norm=layer_norm(1e-5),
    )


CONFIGS = {"Swinv2ForImageClassification": classifier, "Swinv2Model": base}
