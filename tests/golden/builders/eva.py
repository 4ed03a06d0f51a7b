"""EVA, EVA-02 and DINOv3, which are one class in timm."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import ConvEmbed, GatedMlp, Rotary2d, layer_norm
from vitblocks.block import Block, ResidualPostNormBlock
from vitblocks.zoo import EVA, DINOv3

from .vit import ANTIALIASED, timm_norm


def sizes(config: Config) -> dict[str, Any]:
    """What both have in common."""
    config.only("attn_type", "eva")
    config.only("class_token", True)
    for absent in ("no_embed_class", "use_pre_transformer_norm", "scale_attn_inner_post", "dynamic_img_pad"):
        config.only(absent, False)
    for present in ("use_post_transformer_norm", "final_norm"):
        config.only(present, None, True)
    config.only("qkv_bias_separate", False)
    if not config.get("dynamic_img_size", False):
        config.same_size("img_size")
    return {
        "image_size": config["img_size"],
        "patch_size": config["patch_size"],
        "num_classes": config["num_classes"],
        "channels": config.get("in_chans", 3),
        "dim": config["embed_dim"],
        "depth": config["depth"],
        "heads": config["num_heads"],
        "norm": timm_norm(config),
        "layer_scale": config.get("init_values"),
    }


def eva(config: Config) -> EVA:
    """With an inner norm of the feed-forward there is a matrix for each of queries, keys and values, without it one for all."""
    options = sizes(config)
    config.only("qkv_bias", True)
    config.only("num_reg_tokens", 0)
    config.only("use_abs_pos_emb", True)
    config.only("use_fc_norm", None)
    config.only("rope_type", "cat")
    config.only("rope_rotate_half", False)
    config.only("rope_grid_indexing", "ij")
    config.only("rope_grid_offset", 0.0)
    config.only("swiglu_align_to", 0)
    gated, normed = config.get("swiglu_mlp", False), config.get("scale_mlp", False)
    if normed and not gated:
        raise config.refuse("scale_mlp", "only a gated feed-forward has an inner norm here")
    if config.get("qkv_fused", True) == normed:
        raise config.refuse("qkv_fused", "its keys are known without scale_mlp")
    rotary: Any = None
    if config.get("use_rot_pos_emb", False):
        grid = config.get("ref_feat_shape")
        rotary = partial(
            Rotary2d, base=float(config.get("rope_temperature", 10000.0)), grid=None if grid is None else tuple(grid)
        )
    elif "ref_feat_shape" in config or "rope_temperature" in config:
        raise config.refuse("use_rot_pos_emb", "its grid or temperature is given")
    feedforward = {"feedforward": partial(GatedMlp, norm=timm_norm(config)) if normed else GatedMlp}
    return EVA(
        **options,
        mlp_dim=int(options["dim"] * config.get("mlp_ratio", 4.0)),
        pool={"avg": "mean", "token": "cls"}[config.only("global_pool", "avg", "token")],
        positions_rotary=rotary,
        attn_norm=timm_norm(config) if config.get("scale_attn_inner", False) else None,
        block=ResidualPostNormBlock if config.get("use_post_norm", False) else Block,
        resize=ANTIALIASED,
        **(feedforward | {"activation": nn.SiLU} if gated else {}),
    )


def dinov3(config: Config) -> DINOv3:
    config.only("rope_type", "dinov3")
    config.only("use_rot_pos_emb", True)
    config.only("use_abs_pos_emb", False)
    config.only("rope_rotate_half", True)
    config.only("use_fc_norm", False)
    config.only("use_post_norm", False)
    config.only("scale_mlp", False)
    config.only("scale_attn_inner", False)
    config.only("qkv_fused", True)
    options = sizes(config)
    config.unaffected_by("dynamic_img_size")  # there is no table that has a size
    hidden = int(options["dim"] * config.get("mlp_ratio", 4.0))
    gated = config.get("swiglu_mlp", False)
    if gated:
        step = config.only("swiglu_align_to", *range(1, 4097))
        hidden = hidden + (-hidden % step)
    return DINOv3(
        **options,
        mlp_dim=hidden,
        pool={"avg": "mean", "token": "cls"}[config.only("global_pool", "avg", "token")],
        registers=config.get("num_reg_tokens", 0),
        qkv_bias=config.get("qkv_bias", True),
        base=float(config.get("rope_temperature", 10000.0)),
        **({"feedforward": GatedMlp, "activation": nn.SiLU} if gated else {}),
    )


def dinov3_hf(config: Config) -> DINOv3:
    """What is asked of the backbone class or of training alone does not matter."""
    config.unaffected_by("apply_layernorm", "reshape_hidden_states", "stage_names", "out_features", "out_indices")
    config.unaffected_by("num_labels", "pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale", "image_size")
    config.only("key_bias", False)
    config.only("proj_bias", True)
    config.only("mlp_bias", True)
    bias = config.get("query_bias", True)
    config.only("value_bias", bias)
    dim, patch, channels = config["hidden_size"], config["patch_size"], config.get("num_channels", 3)
    return DINOv3(
        image_size=config["image_size"],
        patch_size=patch,
        num_classes=0,
        channels=channels,
        dim=dim,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        registers=config.get("num_register_tokens", 0),
        qkv_bias=bias,
        mask_token=True,
        norm=layer_norm(config.get("layer_norm_eps", 1e-5)),
        layer_scale=config.get("layerscale_value", 1.0),
        base=float(config.get("rope_theta", 100.0)),
        embed=ConvEmbed(patch, dim, channels=channels, remainder="drop"),
        activation=config.activation("hidden_act"),
        **({"feedforward": GatedMlp} if config.get("use_gated_mlp", False) else {}),
    )


BUILDERS = {
    ("EVA", "timm"): Builder(eva),
    ("EVA-02", "timm"): Builder(eva),
    ("DINOv3", "timm"): Builder(dinov3),
    ("DINOv3", "hf", r"DINOv3ViTModel$"): Builder(dinov3_hf),
}
