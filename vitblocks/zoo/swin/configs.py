"""transformers' configs of Swin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, activation, classes_of, require
from ...grid import to_pair
from ...norm import layer_norm

if TYPE_CHECKING:
    from .model import Swin


def classifier(config: Config) -> Swin:
    """SwinForImageClassification, with transformers' defaults; dropout is left out, which is for training."""
    return _swin(config, classes_of(config))


def base(config: Config) -> Swin:
    """SwinModel: the mean of all patches."""
    return _swin(config, 0)


def _swin(config: Config, num_classes: int) -> Swin:
    """Raises ValueError for positions of patches, and for norms that differ in their epsilon, for which there is no part."""
    from .model import Swin

    require(config, use_absolute_embeddings=False, layer_norm_eps=1e-5)
    depths, window = list(config.get("depths", (2, 2, 6, 2))), config.get("window_size", 7)
    size = to_pair(config.get("image_size", 224), "image_size")
    patch = to_pair(config.get("patch_size", 4), "patch_size")
    last = min(-(-side // (step * 2 ** (len(depths) - 1))) for side, step in zip(size, patch, strict=True))
    return Swin(
        num_classes=num_classes,
        patch_size=patch,
        dim=config.get("embed_dim", 96),
        depths=depths,
        heads=config.get("num_heads", (3, 6, 12, 24)),
        window=window,
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("num_channels", 3),
        qkv_bias=config.get("qkv_bias", True),
        image_size=size if last >= window else None,
        activation=activation(config.get("hidden_act", "gelu")),
        padding="hf",
        norm=layer_norm(1e-5),
    )


CONFIGS = {"SwinForImageClassification": classifier, "SwinModel": base}
