"""SimMIM: the authors' with its BEiT-like ViT, and Hugging Face's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import (
    Block,
    ClassPool,
    ClassRelativeBias,
    ClassToken,
    ConvEmbed,
    GlobalAttention,
    LayerNorm,
    LearnedPosition,
    Mlp,
    Model,
    SimMIM,
    Stage,
    ViT,
    layer_norm,
)
from vitblocks.objectives.simmim import CopiedBias
from vitblocks.zoo.sizes import patch_grid


def relative_vit(config: Config) -> Model:
    """ViT with relative positions in every block, its own or a copy of a shared one, layer scale, and absolute positions, as asked for."""
    dim, heads = config["embed_dim"], config["num_heads"]
    grid = patch_grid(pair(config["img_size"]), pair(config["patch_size"]))
    own, shared = config.get("use_rel_pos_bias", False), config.get("use_shared_rel_pos_bias", False)
    if own and shared:
        raise config.refuse("use_shared_rel_pos_bias", "our blocks have one bias each, and they have their own")

    def bias() -> Any:
        if shared:
            return CopiedBias(ClassRelativeBias(heads, grid))
        return ClassRelativeBias(heads, grid) if own else None

    blocks = [
        Block(
            dim,
            GlobalAttention(dim, heads, qkv_bias=config["qkv_bias"], position_bias=bias()),
            Mlp(dim, int(dim * config["mlp_ratio"])),
            layer_scale=config.get("init_values"),
        )
        for _ in range(config["depth"])
    ]
    positions = [LearnedPosition(dim, grid, num_prefix=1)] if config.get("use_abs_pos_emb", True) else []
    return Model(
        embed=ConvEmbed(pair(config["patch_size"]), dim, channels=config.get("in_chans", 3)),
        stages=[Stage([ClassToken(dim), *positions, *blocks])],
        norm=LayerNorm(dim),
        pool=ClassPool(),
        image_size=pair(config["img_size"]),
    )


def official(config: Config) -> SimMIM:
    """With mean pooling the encoder there has no norm at its end, but one that nothing reads."""
    config.only("use_mean_pooling", False)
    config.only("num_classes", 0)
    config.only("qk_scale", None)
    return SimMIM(relative_vit(config), mask_patch_size=config["mask_patch_size"], channels=config.get("in_chans", 3))


def hf(config: Config) -> SimMIM:
    config.only("encoder_stride", config["patch_size"], why="Hugging Face's has no other")
    channels = config.get("num_channels", 3)
    vit = ViT(
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        num_classes=0,
        channels=channels,
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        qkv_bias=config.get("qkv_bias", True),
        norm=layer_norm(config.get("layer_norm_eps", 1e-12)),
        activation=config.activation("hidden_act"),
    )
    return SimMIM(vit, mask_patch_size=config["patch_size"], channels=channels)


def mask(model: SimMIM, case: Case, *, flat: bool) -> Tensor:
    rows, columns = model.mask_grid(case.input)
    shape = (rows * columns,) if flat else (rows, columns)
    return case.uniform("mask", (case.input.shape[0], *shape)) < 0.5


def loss(flat: bool) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: model(case.input, mask=mask(model, case, flat=flat)).reshape(case.outputs["loss"].shape)


def picture(flat: bool, part: Callable[[Tensor], Tensor]) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: part(model.reconstruct(case.input, mask=mask(model, case, flat=flat)))


OFFICIAL = {
    "loss": loss(flat=False),
    "mask": lambda model, case: mask(model, case, flat=False).double(),
    "reconstruction": picture(False, lambda x: x[:, :, :4, :4]),
    "reconstruction_absmean": picture(False, lambda x: x.abs().mean()),
}
HF = {
    "loss": loss(flat=True),
    "reconstruction_row0": picture(True, lambda x: x[:, :, 0]),
    "reconstruction_col1": picture(True, lambda x: x[:, :, :, 1]),
    "reconstruction_mean": picture(True, lambda x: x.mean(dim=(2, 3))),
    "reconstruction_rms": picture(True, lambda x: x.square().mean(dim=(2, 3)).sqrt()),
}

# The reference counts the hidden pixels in float32, where its 1e-5 is lost beside their number.
LOST = {"loss": 1e-8}

BUILDERS = {("SimMIM", "hf"): Builder(hf, HF, LOST), ("SimMIM", "official"): Builder(official, OFFICIAL)}
