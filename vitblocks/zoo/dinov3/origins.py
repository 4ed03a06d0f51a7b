"""How transformers' DINOv3 is read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...border import Origin, timm, transformers
from ...checkpoint.rules import other_names
from ...embed import ConvEmbed
from ...grid import to_pair
from .layouts import hf

if TYPE_CHECKING:
    from ...model import Model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' DINOv3ViTModel: the class token after the last norm. In training it moves its positions at random, ours does not."""
    layers, conv = module.model.layer, module.embeddings.patch_embeddings
    read = partial(transformers.scaled_layer, key_bias=False)
    settings = timm.alike(module, timm.named("model.layer", layers), read)
    timm.same_norm(module, {"model.layer.0.norm1": layers[0].norm1, "norm": module.norm})
    size = to_pair(module.config.image_size, "image_size")
    model = build(
        **settings,
        image_size=tuple(side // patch * patch for side, patch in zip(size, conv.kernel_size, strict=True)),
        **transformers.patches(module, conv),
        embed=ConvEmbed(conv.kernel_size, conv.out_channels, channels=conv.in_channels, remainder="drop"),
        num_classes=0,
        depth=len(layers),
        registers=module.embeddings.register_tokens.shape[1],
        mask_token=True,
        layer_scale=1.0,  # any: weights come with the rest
        base=float(module.rope_embeddings.base),
    )
    return transformers.with_drop_paths(model, layers)


def as_timm(name: str, make: Callable[..., Model]) -> Model:
    """timm's reads the mean of the normed patches, the authors' the class token."""
    return make(pool="mean")


ORIGINS = {
    "transformers.models.dinov3_vit.modeling_dinov3_vit.DINOv3ViTModel": Origin(
        other_names(hf), read_hf, transformers.features
    )
}
