"""MAE: the authors' and Hugging Face's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import MAE, ClassPool, ClassToken, ConvEmbed, LayerNorm, Model, SinePosition2d, Stage, layer_norm
from vitblocks.objectives.masking import Shuffle, patchify
from vitblocks.zoo.sizes import patch_grid
from vitblocks.zoo.vit import vit_blocks


def fixed_vit(
    image_size: Any, patch_size: Any, channels: int, dim: int, depth: int, heads: int, mlp_dim: int, **options: Any
) -> Model:
    """ViT with fixed positions, as MAE trains it. Options are those of its blocks."""
    position = SinePosition2d(dim, patch_grid(pair(image_size), pair(patch_size)), num_prefix=1)
    blocks = vit_blocks(dim, heads, mlp_dim, [0.0] * depth, **options)
    return Model(
        embed=ConvEmbed(pair(patch_size), dim, channels=channels),
        stages=[Stage([ClassToken(dim), position, *blocks])],
        norm=options.get("norm", LayerNorm)(dim),
        pool=ClassPool(),
        image_size=pair(image_size),
    )


def official(config: Config) -> MAE:
    dim, channels = config["embed_dim"], config.get("in_chans", 3)
    mlp_dim = int(dim * config["mlp_ratio"])
    sizes = (config["img_size"], config["patch_size"], channels, dim, config["depth"], config["num_heads"], mlp_dim)
    return MAE(
        fixed_vit(*sizes),
        masking_ratio=config["mask_ratio"],
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        decoder_mlp_dim=int(config["decoder_embed_dim"] * config["mlp_ratio"]),
        norm_pix_loss=config.get("norm_pix_loss", False),
        channels=channels,
    )


def hf(config: Config) -> MAE:
    channels, qkv_bias = config.get("num_channels", 3), config.get("qkv_bias", True)
    norm, activation = layer_norm(config.get("layer_norm_eps", 1e-12)), config.activation("hidden_act")
    encoder = fixed_vit(
        config["image_size"],
        config["patch_size"],
        channels,
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
        norm=norm,
        activation=activation,
        qkv_bias=qkv_bias,
    )
    return MAE(
        encoder,
        masking_ratio=config["mask_ratio"],
        decoder_dim=config["decoder_hidden_size"],
        decoder_depth=config["decoder_num_hidden_layers"],
        decoder_heads=config["decoder_num_attention_heads"],
        decoder_mlp_dim=config["decoder_intermediate_size"],
        norm_pix_loss=config.get("norm_pix_loss", False),
        channels=channels,
        decoder_qkv_bias=qkv_bias,
        decoder_norm=norm,
        decoder_activation=activation,
    )


def noise(model: MAE, case: Case) -> Tensor:
    grid = model.grid(case.input)
    return case.uniform("noise", (case.input.shape[0], grid[0] * grid[1]))


def places(model: MAE, case: Case) -> Shuffle:
    return model.shuffle(case.input, noise=noise(model, case))


def loss(model: MAE, case: Case) -> Tensor:
    found: Tensor = model(case.input, noise=noise(model, case))
    return found.reshape(case.outputs["loss"].shape)


def loss_norm_pix(model: MAE, case: Case) -> Tensor:
    asked, model.norm_pix_loss = model.norm_pix_loss, True
    try:
        return loss(model, case)
    finally:
        model.norm_pix_loss = asked


def prediction(model: MAE, case: Case) -> Tensor:
    details = model(case.input, noise=noise(model, case), details=True)
    return patchify(details.reconstruction, model.patch_size)


COMMON = {
    "loss": loss,
    "loss_norm_pix": loss_norm_pix,
    "mask": lambda model, case: places(model, case).mask.double(),
    "ids_restore": lambda model, case: places(model, case).restore.double(),
}
OFFICIAL = {
    **COMMON,
    "pred": lambda model, case: prediction(model, case)[:, :4, :12],
    "pred_absmean": lambda model, case: prediction(model, case).abs().mean(),
    "latent": lambda model, case: model.encode(case.input, places(model, case))[:, :3, :8],
}
HF = {
    **COMMON,
    "logits_first2": lambda model, case: prediction(model, case)[:, :2],
    "logits_mean": lambda model, case: prediction(model, case).mean(dim=2),
    "logits_rms": lambda model, case: prediction(model, case).square().mean(dim=2).sqrt(),
}

BUILDERS = {("MAE", "official"): Builder(official, OFFICIAL), ("MAE", "hf"): Builder(hf, HF)}
