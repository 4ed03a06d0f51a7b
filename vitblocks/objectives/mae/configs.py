"""transformers' config of MAE."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ...border.configs import Config, activation
from ...norm import layer_norm
from .origins import with_position_of_class


def pretraining(config: Config) -> nn.Module:
    """ViTMAEForPreTraining, with transformers' defaults; dropout is left out."""
    from ...zoo.vit.configs import encoder
    from .objective import MAE

    model = MAE(
        encoder(config),
        masking_ratio=config.get("mask_ratio", 0.75),
        decoder_dim=config.get("decoder_hidden_size", 512),
        decoder_depth=config.get("decoder_num_hidden_layers", 8),
        decoder_heads=config.get("decoder_num_attention_heads", 16),
        decoder_mlp_dim=config.get("decoder_intermediate_size", 2048),
        norm_pix_loss=config.get("norm_pix_loss", False),
        channels=config.get("num_channels", 3),
        decoder_qkv_bias=config.get("qkv_bias", True),
        decoder_norm=layer_norm(config.get("layer_norm_eps", 1e-12)),
        decoder_activation=activation(config.get("hidden_act", "gelu")),
    )
    return with_position_of_class(model)


CONFIGS: dict[str, Callable[[Config], nn.Module]] = {"ViTMAEForPreTraining": pretraining}
