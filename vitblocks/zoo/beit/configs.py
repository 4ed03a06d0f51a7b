"""transformers' configs of BEiT."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...border.configs import Config, activation, classes_of, whole_patches
from ...embed import ConvEmbed
from ...norm import layer_norm
from ...position import ClassRelativeBias, resize_offsets_as_transformers

if TYPE_CHECKING:
    from .model import BEiT


def classifier(config: Config) -> BEiT:
    """BeitForImageClassification, with transformers' defaults; dropout is left out, which is for training."""
    return _beit(config, classes_of(config))


def base(config: Config) -> BEiT:
    """BeitModel, with its pooler."""
    return _beit(config, 0)


def _beit(config: Config, num_classes: int) -> BEiT:
    """Raises ValueError where blocks have relative positions of their own and shared ones, for which there is no part."""
    from .model import BEiT

    own, shared = (config.get(f"use_{name}relative_position_bias", False) for name in ("", "shared_"))
    if own and shared:
        raise ValueError("use_shared_relative_position_bias must be False beside use_relative_position_bias, got True")
    image_size, patch_size = whole_patches(config)
    dim, channels = config.get("hidden_size", 768), config.get("num_channels", 3)
    return BEiT(
        image_size=image_size,
        patch_size=patch_size,
        num_classes=num_classes,
        dim=dim,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        mlp_dim=config.get("intermediate_size", 3072),
        pool="mean" if config.get("use_mean_pooling", True) else "cls",
        bias_factory=partial(ClassRelativeBias, resize=resize_offsets_as_transformers) if own or shared else None,
        shared_bias=shared,
        absolute_positions=config.get("use_absolute_position_embeddings", False),
        mask_token=config.get("use_mask_token", False),
        channels=channels,
        norm=layer_norm(config.get("layer_norm_eps", 1e-12)),
        embed=ConvEmbed(patch_size, dim, channels=channels, remainder="drop"),
        activation=activation(config.get("hidden_act", "gelu")),
        layer_scale=config.get("layer_scale_init_value", 0.1) or None,
    )


CONFIGS = {"BeitForImageClassification": classifier, "BeitModel": base}
