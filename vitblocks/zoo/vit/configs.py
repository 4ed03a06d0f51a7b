"""transformers' configs of ViT and DeiT."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border.configs import Config, activation, classes_of, whole_patches
from ...embed import ConvEmbed
from ...norm import layer_norm

if TYPE_CHECKING:
    from .model import ViT


def settings(config: Config) -> dict[str, Any]:
    """A config as keywords of :class:`~vitblocks.ViT`, with transformers' defaults; dropout is left out, which is for training."""
    dim, channels = config.get("hidden_size", 768), config.get("num_channels", 3)
    size, patch = whole_patches(config)
    return {
        "image_size": size,
        "patch_size": patch,
        "dim": dim,
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "mlp_dim": config.get("intermediate_size", 3072),
        "channels": channels,
        "qkv_bias": config.get("qkv_bias", True),
        "norm": layer_norm(config.get("layer_norm_eps", 1e-12)),
        "activation": activation(config.get("hidden_act", "gelu")),
        "embed": ConvEmbed(patch, dim, channels=channels, remainder="drop"),
    }


def classifier(config: Config, prefix_tokens: int = 1) -> ViT:
    """ViTForImageClassification, or with two tokens DeiTForImageClassification, which reads the first alone."""
    from .model import ViT

    return ViT(**settings(config), num_classes=classes_of(config), prefix_tokens=prefix_tokens)


def base(config: Config, prefix_tokens: int = 1) -> ViT:
    """ViTModel or DeiTModel, whose pooler is the head."""
    from .model import ViT

    model = ViT(**settings(config), num_classes=0, prefix_tokens=prefix_tokens)
    dim = config.get("hidden_size", 768)
    pooled = config.get("pooler_output_size") or dim
    model.head = nn.Sequential(nn.Linear(dim, pooled), activation(config.get("pooler_act", "tanh"))())
    return model


def encoder(config: Config) -> ViT:
    """ViTMAEModel, the encoder of an MAE."""
    from .model import ViT

    return ViT(**settings(config), num_classes=0)


def deit_classifier(config: Config) -> ViT:
    return classifier(config, prefix_tokens=2)


def deit_base(config: Config) -> ViT:
    return base(config, prefix_tokens=2)


CONFIGS: dict[str, Callable[[Config], ViT]] = {
    "ViTForImageClassification": classifier,
    "ViTModel": base,
    "ViTMAEModel": encoder,
    "DeiTForImageClassification": deit_classifier,
    "DeiTModel": deit_base,
}
