"""transformers' configs of SAM's image encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, activation
from ...grid import to_pair
from ...norm import layer_norm
from ...position import DecomposedBias

if TYPE_CHECKING:
    from .model import SAMViT


def encoder(config: Config) -> SAMViT:
    """SamVisionModel: the mean of the neck's map. With transformers' defaults; dropout is left out, which is for training."""
    from .model import SAMViT

    dim, depth = config.get("hidden_size", 768), config.get("num_hidden_layers", 12)
    size, patch = (
        to_pair(config.get(name, default), name) for name, default in (("image_size", 1024), ("patch_size", 16))
    )
    window = config.get("window_size", 14)
    global_blocks = [i for i in config.get("global_attn_indexes", (2, 5, 8, 11)) if 0 <= i < depth]
    return SAMViT(
        image_size=size,
        patch_size=patch,
        num_classes=0,
        dim=dim,
        depth=depth,
        heads=config.get("num_attention_heads", 12),
        mlp_dim=config.get("mlp_dim") or int(dim * config.get("mlp_ratio", 4.0)),
        global_blocks=global_blocks if window else range(depth),
        window=window or 14,
        neck_dim=config.get("output_channels", 256),
        channels=config.get("num_channels", 3),
        qkv_bias=config.get("qkv_bias", True),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        activation=activation(config.get("hidden_act", "gelu")),
        positions=config.get("use_abs_pos", True),
        bias_factory=DecomposedBias if config.get("use_rel_pos", True) else None,
    )


def whole(config: Config) -> SAMViT:
    """The encoder of SamModel."""
    return encoder(config.get("vision_config") or {})


CONFIGS = {"SamVisionModel": encoder, "SamModel": whole}
