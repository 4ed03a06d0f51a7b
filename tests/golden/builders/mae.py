"""MAE: the authors' and Hugging Face's."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import MAE, ClassPool, ClassToken, ConvEmbed, LayerNorm, Model, SinePosition2d, Stage
from vitblocks.objectives.masking import Shuffle, patchify
from vitblocks.zoo.vit import vit_blocks


def fixed_vit(image_size: int, patch_size: int, dim: int, depth: int, heads: int, mlp_dim: int) -> Model:
    """ViT with fixed positions, as MAE trains it."""
    grid = image_size // patch_size
    position = SinePosition2d(dim, grid, num_prefix=1)
    return Model(
        embed=ConvEmbed(patch_size, dim),
        stages=[Stage([ClassToken(dim), position, *vit_blocks(dim, heads, mlp_dim, [0.0] * depth)])],
        norm=LayerNorm(dim),
        pool=ClassPool(),
        image_size=image_size,
    )


def official(config: dict[str, Any]) -> MAE:
    dim = config["embed_dim"]
    mlp_dim = int(dim * config["mlp_ratio"])
    sizes = (config["img_size"], config["patch_size"], dim, config["depth"], config["num_heads"], mlp_dim)
    return MAE(
        fixed_vit(*sizes),
        masking_ratio=config["mask_ratio"],
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        decoder_mlp_dim=int(config["decoder_embed_dim"] * config["mlp_ratio"]),
    )


def hf(config: dict[str, Any]) -> MAE:
    return MAE(
        fixed_vit(
            config["image_size"],
            config["patch_size"],
            config["hidden_size"],
            config["num_hidden_layers"],
            config["num_attention_heads"],
            config["intermediate_size"],
        ),
        masking_ratio=config["mask_ratio"],
        decoder_dim=config["decoder_hidden_size"],
        decoder_depth=config["decoder_num_hidden_layers"],
        decoder_heads=config["decoder_num_attention_heads"],
        decoder_mlp_dim=config["decoder_intermediate_size"],
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
    model.norm_pix_loss = True
    try:
        return loss(model, case)
    finally:
        model.norm_pix_loss = False


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

BUILDERS = {"mae_official": Builder(official, OFFICIAL), "vit_mae": Builder(hf, HF)}
