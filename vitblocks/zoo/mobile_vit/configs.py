"""transformers' configs of MobileViT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...border.configs import Config, classes_of, require

if TYPE_CHECKING:
    from .model import MobileViT


def classifier(config: Config) -> MobileViT:
    """MobileViTForImageClassification, with transformers' defaults; dropout is left out, which is for training."""
    return _mobile_vit(config, classes_of(config))


def base(config: Config) -> MobileViT:
    """MobileViTModel: the mean of the last map."""
    return _mobile_vit(config, 0)


def _mobile_vit(config: Config, num_classes: int) -> MobileViT:
    """Raises ValueError for dilated convolutions, other activations, epsilons and biases, for which there is no part."""
    from .model import MobileViT

    require(config, output_stride=32, hidden_act="silu", layer_norm_eps=1e-5, qkv_bias=True)
    neck = config.get("neck_hidden_sizes", (16, 32, 64, 96, 128, 160, 640))
    dims = list(config.get("hidden_sizes", (144, 192, 240)))
    return MobileViT(
        image_size=config.get("image_size", 256),
        dims=dims,
        channels=[*neck[:2], *(width for width in neck[2:6] for _ in range(2)), *neck[6:]],
        num_classes=num_classes,
        image_channels=config.get("num_channels", 3),
        expansion=config.get("expand_ratio", 4.0),
        kernel_size=config.get("conv_kernel_size", 3),
        patch_size=config.get("patch_size", 2),
        heads=config.get("num_attention_heads", 4),
        mlp_dims=[int(dim * config.get("mlp_ratio", 2.0)) for dim in dims],
    )


CONFIGS = {"MobileViTForImageClassification": classifier, "MobileViTModel": base}
