"""How transformers' SigLIP and SigLIP 2 are read; timm's is a VisionTransformer, see :mod:`vitblocks.zoo.vit.origins`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isqrt
from re import search
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ...border import Origin, refuse_unless, timm, transformers
from ...checkpoint.rules import KeyMap
from ...embed import LinearEmbed
from ...position import resize_table
from .layouts import hf_siglip

if TYPE_CHECKING:
    from ...model import Model


def read_hf(build: Callable[..., Model], module: Any) -> Model:
    """transformers' SiglipVisionModel or SiglipForImageClassification, and those of SigLIP 2, which take patches of images of any size.

    A base model is read by its pool, or without one by the mean of the patches; that is what the classifier reads in any case.
    """
    base = getattr(module, "vision_model", module)
    layers, pooled = base.encoder.layers, base is module and base.use_head
    settings = timm.alike(module, timm.named("encoder.layers", layers), transformers.tower_layer)
    norms = {"layers.0.layer_norm1": layers[0].layer_norm1, "post_layernorm": base.post_layernorm}
    timm.same_norm(module, norms | ({"head.layernorm": base.head.layernorm} if pooled else {}))
    if pooled:
        _check_pool(module, base.head, settings)
    return build(
        **settings,
        **_patches(module, base),
        num_classes=0 if base is module else transformers.classes(module, "classifier"),
        pool="map" if pooled else "mean",
        depth=len(layers),
    )


def _check_pool(module: Any, pool: Any, settings: dict[str, Any]) -> None:
    """Refuse a pool of other heads or another feed-forward than those of the blocks."""
    attention = pool.attention
    plain = attention.in_proj_bias is not None and attention.bias_k is None and not attention.add_zero_attn
    refuse_unless(plain and attention.dropout == 0, module, "head.attention", attention)
    same = attention.num_heads == settings["heads"] and attention.head_dim == settings["head_dim"]
    refuse_unless(same, module, "head.attention.num_heads", attention.num_heads)
    for key, value in transformers.mlp(module, "head.mlp", pool.mlp).items():
        refuse_unless(repr(value) == repr(settings[key]), module, f"{key} of head.mlp", value)


def _patches(module: Any, base: Any) -> dict[str, Any]:
    """Of a tower whose patches are embedded by a convolution; or, for images of any size, by a Linear, with positions of a square."""
    embeddings = base.embeddings
    embed, patch = embeddings.patch_embedding, embeddings.patch_size
    if isinstance(embed, nn.Conv2d):
        return {
            "image_size": embeddings.image_size,
            **transformers.patches(module, embed),
            "remainder": "drop",
        }
    refuse_unless(embed.bias is not None, module, "patch_embedding.bias", None)
    channels = embed.in_features // patch**2
    return {
        "image_size": patch * isqrt(embeddings.position_embedding.num_embeddings),
        "patch_size": patch,
        "channels": channels,
        "embed": LinearEmbed(patch, embed.out_features, channels=channels),
        "resize": partial(resize_table, mode="bilinear", antialias=True),
    }


def _call_patches(module: Any, images: Tensor) -> Tensor:
    """What SigLIP 2 gives for images cut into patches."""
    patch = getattr(module, "vision_model", module).embeddings.patch_size
    grid = [side // patch for side in images.shape[-2:]]
    patches = rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=patch, q=patch)
    shapes = torch.tensor([grid] * len(images), device=images.device)
    output = module(patches, pixel_attention_mask=torch.ones_like(patches[:, :, 0]), spatial_shapes=shapes)
    if hasattr(module, "classifier"):
        logits: Tensor = output.logits
        return logits
    found: Tensor = output.last_hidden_state.mean(dim=1) if output.pooler_output is None else output.pooler_output
    return found


def _under(prefix: str) -> KeyMap:
    return lambda model: hf_siglip(model, prefix)


TANH = "patch32|so400m_patch16|giantopt|large_patch16_siglip(_gap)?_512"
"""In timm's names of those towers that have the tanh GELU there, which all were trained with; the others have the exact one."""


def as_timm(name: str, make: Callable[..., Model]) -> Model:
    """With timm's GELU, which is not that of the training in every tower."""
    return make() if search(TANH, name) else make(activation=nn.GELU)


_HF = "transformers.models.{0}.modeling_{0}.{1}"

ORIGINS = {
    _HF.format("siglip", "SiglipVisionModel"): Origin(_under(""), read_hf, transformers.mean_features_of_any_size),
    _HF.format("siglip", "SiglipForImageClassification"): Origin(
        _under("vision_model."), read_hf, transformers.logits_of_any_size
    ),
    _HF.format("siglip2", "Siglip2VisionModel"): Origin(_under(""), read_hf, _call_patches),
    _HF.format("siglip2", "Siglip2ForImageClassification"): Origin(_under("vision_model."), read_hf, _call_patches),
}
