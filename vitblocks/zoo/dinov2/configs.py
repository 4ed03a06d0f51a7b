"""transformers' configs of DINOv2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border.configs import Config, activation, classes_of, whole_patches
from ...embed import ConvEmbed
from ...feedforward import GatedMlp
from ...norm import layer_norm
from ...position import resize_table

if TYPE_CHECKING:
    from .model import DINOv2


def _dinov2(config: Config, *, registers: bool, classifies: bool) -> DINOv2:
    """With transformers' defaults; dropout is left out, which is for training."""
    from .model import DINOv2

    image_size, patch_size = whole_patches(config, patch_size=16 if registers else 14)
    dim, channels = config.get("hidden_size", 768), config.get("num_channels", 3)
    mlp_dim = int(dim * config.get("mlp_ratio", 4))
    options: dict[str, Any] = {"mlp_dim": mlp_dim, "activation": activation(config.get("hidden_act", "gelu"))}
    if config.get("use_swiglu_ffn", False):
        options = {"mlp_dim": (int(mlp_dim * 2 / 3) + 7) // 8 * 8, "activation": nn.SiLU, "feedforward": GatedMlp}
    return DINOv2(
        image_size=image_size,
        patch_size=patch_size,
        num_classes=classes_of(config) if classifies else 0,
        dim=dim,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        pool="cls+mean" if classifies else "cls",
        registers=config.get("num_register_tokens", 4) if registers else 0,
        mask_token=registers or config.get("use_mask_token", True),
        channels=channels,
        qkv_bias=config.get("qkv_bias", True),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        embed=ConvEmbed(patch_size, dim, channels=channels, remainder="drop"),
        layer_scale=1.0,
        resize=partial(resize_table, antialias=True) if registers else resize_table,
        **options,
    )


CONFIGS: dict[str, Callable[[Config], DINOv2]] = {
    "Dinov2Model": partial(_dinov2, registers=False, classifies=False),
    "Dinov2ForImageClassification": partial(_dinov2, registers=False, classifies=True),
    "Dinov2WithRegistersModel": partial(_dinov2, registers=True, classifies=False),
    "Dinov2WithRegistersForImageClassification": partial(_dinov2, registers=True, classifies=True),
}
