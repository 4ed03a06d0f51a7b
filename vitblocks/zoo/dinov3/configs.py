"""transformers' config of DINOv3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, activation, require, whole_patches
from ...embed import ConvEmbed
from ...feedforward import GatedMlp, Mlp
from ...norm import layer_norm

if TYPE_CHECKING:
    from .model import DINOv3


def base(config: Config) -> DINOv3:
    """DINOv3ViTModel, with transformers' defaults; dropout is left out, which is for training.

    Raises ValueError for biases of keys, and for projections and feed-forwards without, for which there is no part.
    """
    from .model import DINOv3

    biases = [config.get(f"{name}_bias", True) for name in ("query", "value")]
    require(config, key_bias=False, proj_bias=True, mlp_bias=True, value_bias=biases[0])
    image_size, patch_size = whole_patches(config)
    dim, channels = config.get("hidden_size", 384), config.get("num_channels", 3)
    return DINOv3(
        image_size=image_size,
        patch_size=patch_size,
        num_classes=0,
        dim=dim,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 6),
        mlp_dim=config.get("intermediate_size", 1536),
        registers=config.get("num_register_tokens", 0),
        qkv_bias=biases[0],
        mask_token=True,
        channels=channels,
        norm=layer_norm(config.get("layer_norm_eps", 1e-5)),
        embed=ConvEmbed(patch_size, dim, channels=channels, remainder="drop"),
        activation=activation(config.get("hidden_act", "gelu")),
        layer_scale=1.0,
        base=config.get("rope_theta", 100.0),
        feedforward=GatedMlp if config.get("use_gated_mlp", False) else Mlp,
    )


CONFIGS = {"DINOv3ViTModel": base}
