"""How transformers' pre-training of Hiera is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ...border import Origin, activation_of, refuse_unless, timm
from ..mae.origins import noise_of, together


def read_hf(build: Callable[..., nn.Module], module: Any) -> nn.Module:
    """transformers' HieraForPreTraining."""
    from ...zoo.hiera import Hiera
    from ...zoo.hiera.origins import read_hf_encoder  # which is made of models that objectives take

    layers = timm.named("decoder.decoder_block.layers", module.decoder.decoder_block.layers)
    settings = timm.alike(module, layers, _layer)
    config = module.config
    norms = {"decoder.decoder_block.layers.0.layernorm_before": module.decoder.decoder_block.layers[0].layernorm_before}
    timm.same_norm(module, norms | {"decoder.decoder_norm": module.decoder.decoder_norm})
    return build(
        read_hf_encoder(Hiera, module),
        masking_ratio=config.mask_ratio,
        decoder_depth=len(layers),
        norm_pix_loss=config.normalize_pixel_loss,
        channels=module.hiera.embeddings.patch_embeddings.projection.in_channels,
        norm=timm.same_norm(module, {"encoder_norm": module.encoder_norm}),
        **settings,
    )


def _layer(module: nn.Module, name: str, theirs: Any) -> dict[str, Any]:
    attn, mlp = theirs.attn, theirs.mlp
    refuse_unless(not attn.use_mask_unit_attn, module, f"use_mask_unit_attn of {name}", True)
    norms = {f"{name}.{part}": getattr(theirs, part) for part in ("layernorm_before", "layernorm_after")}
    return {
        "decoder_dim": attn.proj.in_features,
        "decoder_heads": attn.num_heads,
        "decoder_mlp_dim": mlp.fc1.out_features,
        "decoder_norm": timm.same_norm(module, norms),
        "decoder_activation": activation_of(mlp.activation_fn),
    }


def _call(module: Any, images: Tensor) -> Tensor:
    """All predicted pixels, and the loss."""
    sides = zip(module.config.masked_unit_size, module.config.patch_stride, strict=True)
    height, width = (tokens * step for tokens, step in sides)
    output = module(images, noise=noise_of(images, (height, width)))
    pixels = output.logits.unflatten(2, (-1, module.pred_stride**2)).transpose(2, 3)
    return together(pixels, output.loss)


def _own(model: Any, images: Tensor) -> Tensor:
    places = model.shuffle(images, noise=noise_of(images, model.patch_size))
    pixels = model.decode(model.encode(images, places), places, model.grid(images))
    loss = model(images, noise=noise_of(images, model.patch_size))
    return together(pixels, loss)


ORIGINS = {"transformers.models.hiera.modeling_hiera.HieraForPreTraining": Origin("hf", read_hf, _call, _own)}
