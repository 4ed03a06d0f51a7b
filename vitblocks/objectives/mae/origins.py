"""How transformers' MAE is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...border import Origin, refuse_unless, timm, transformers
from ...checkpoint.rules import other_names
from ...position import LearnedPosition
from ..masking import patchify
from .layouts import HF


def read_hf(build: Callable[..., nn.Module], module: Any) -> nn.Module:
    """transformers' ViTMAEForPreTraining, with the positions of its decoder as a table, since the class token has one there."""
    from ...zoo.vit import ViT
    from ...zoo.vit.origins import read_hf_encoder  # which is made of models that objectives take

    decoder, layers = module.decoder, module.decoder.decoder_layers
    settings = timm.alike(module, timm.named("decoder.decoder_layers", layers), transformers.layer)
    norms = {"decoder.decoder_layers.0.layernorm_before": layers[0].layernorm_before}
    timm.same_norm(module, norms | {"decoder.decoder_norm": decoder.decoder_norm})
    rates = (settings["dropout"], settings["attn_dropout"])
    refuse_unless(rates == (0, 0), module, "dropout of its decoder", rates)
    width = settings["heads"] * settings["head_dim"]
    refuse_unless(width == settings["dim"], module, "channels of all heads of its decoder", width)
    encoder: Any = read_hf_encoder(ViT, module.vit)
    model: Any = build(
        encoder,
        masking_ratio=module.config.mask_ratio,
        decoder_dim=settings["dim"],
        decoder_depth=len(layers),
        decoder_heads=settings["heads"],
        decoder_mlp_dim=settings["mlp_dim"],
        norm_pix_loss=module.config.norm_pix_loss,
        channels=module.vit.embeddings.patch_embeddings.projection.in_channels,
        decoder_qkv_bias=settings["qkv_bias"],
        decoder_norm=settings["norm"],
        decoder_activation=settings["activation"],
    )
    return with_position_of_class(model)


def with_position_of_class(model: Any) -> nn.Module:
    """The objective with a table of positions in its decoder, which do not learn: that of the class token, then all patches."""
    sine = model.decoder.layers[0]
    positions = LearnedPosition(sine.dim, sine.grid, num_prefix=1)
    positions.table.requires_grad_(False)
    model.decoder.layers[0] = positions
    found: nn.Module = model
    return found


def noise_of(images: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """The same for theirs and ours, so that they hide the same patches: ``(B, patches)``."""
    places = (images.shape[2] // patch_size[0]) * (images.shape[3] // patch_size[1])
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.rand(len(images), places, generator=generator, device="cpu").to(images.device)


def together(pixels: Tensor, loss: Tensor) -> Tensor:
    """All predicted pixels of each image, and the loss."""
    return torch.cat([pixels.flatten(1), loss.expand(len(pixels), 1)], dim=1)


def _call(module: Any, images: Tensor) -> Tensor:
    """All predicted pixels, and the loss."""
    noise = noise_of(images, module.vit.embeddings.patch_embeddings.projection.kernel_size)
    output = module(images, noise=noise)
    return together(output.logits, output.loss)


def _own(model: Any, images: Tensor) -> Tensor:
    found = model(images, noise=noise_of(images, model.patch_size), details=True)
    return together(patchify(found.reconstruction, model.patch_size), found.loss)


ORIGINS: dict[str, Origin] = {
    "transformers.models.vit_mae.modeling_vit_mae.ViTMAEForPreTraining": Origin(other_names(HF), read_hf, _call, _own)
}
