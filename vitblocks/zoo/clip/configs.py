"""transformers' configs of CLIP's towers of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from ...border.configs import Config, activation, classes_of, tower_of, whole_patches
from ...embed import ConvEmbed
from ...norm import layer_norm
from ...pool import MeanPool

if TYPE_CHECKING:
    from .model import CLIP


def settings(config: Config) -> dict[str, Any]:
    """A tower's config as keywords of :class:`CLIP`, with transformers' defaults; dropout is left out, which is for training."""
    image_size, patch_size = whole_patches(config, patch_size=32)
    dim, channels = config.get("hidden_size", 768), config.get("num_channels", 3)
    return {
        "image_size": image_size,
        "patch_size": patch_size,
        "dim": dim,
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "mlp_dim": config.get("intermediate_size", 3072),
        "channels": channels,
        "norm": layer_norm(config.get("layer_norm_eps", 1e-5)),
        "activation": activation(config.get("hidden_act", "quick_gelu")),
        "embed": ConvEmbed(patch_size, dim, channels=channels, bias=False, remainder="drop"),
    }


def base(config: Config) -> CLIP:
    """CLIPVisionModel."""
    from .model import CLIP

    return CLIP(**settings(tower_of(config)), num_classes=0)


def projected(config: Config) -> CLIP:
    """CLIPVisionModelWithProjection, or the tower of images of a CLIPModel."""
    from .model import CLIP

    return CLIP(**settings(tower_of(config)), num_classes=config.get("projection_dim", 512))


def classifier(config: Config) -> CLIP:
    """CLIPForImageClassification."""
    from .model import CLIP

    model = CLIP(**settings(tower_of(config)), num_classes=classes_of(config), head_bias=True)
    model.norm, model.pool = nn.Identity(), MeanPool()
    return model


CONFIGS: dict[str, Callable[[Config], CLIP]] = {
    "CLIPVisionModel": base,
    "CLIPVisionModelWithProjection": projected,
    "CLIPModel": projected,
    "CLIPForImageClassification": classifier,
}
