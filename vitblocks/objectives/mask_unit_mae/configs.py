"""transformers' config of Hiera's pre-training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, activation
from ...norm import layer_norm

if TYPE_CHECKING:
    from .objective import MaskUnitMAE


def pretraining(config: Config) -> MaskUnitMAE:
    """HieraForPreTraining, which has no default of its decoder."""
    from ...zoo.hiera.configs import base
    from .objective import MaskUnitMAE

    dim, norm = config["decoder_hidden_size"], layer_norm(config.get("layer_norm_eps", 1e-6))
    return MaskUnitMAE(
        base(config),
        masking_ratio=config.get("mask_ratio", 0.6),
        decoder_dim=dim,
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        decoder_mlp_dim=int(dim * config.get("mlp_ratio", 4.0)),
        norm_pix_loss=config.get("normalize_pixel_loss", True),
        channels=config.get("num_channels", 3),
        norm=norm,
        decoder_norm=norm,
        decoder_activation=activation(config.get("hidden_act", "gelu")),
    )


CONFIGS = {"HieraForPreTraining": pretraining}
