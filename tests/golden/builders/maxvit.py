"""MaxViT."""

from __future__ import annotations

from functools import partial
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import GridWindows, LogSpacedBias, MaxViT, layer_norm
from vitblocks.attention import Windows
from vitblocks.checkpoint import KeyMap
from vitblocks.norm import map_layer_norm
from vitblocks.zoo.maxvit import ConvNeXtBlock, layouts


def conv_options(config: Config) -> dict[str, Any]:
    """Of mobile convolutions, or of ConvNeXt's blocks in their place."""
    if config.only("block_type", "mbconv", "convnext") == "convnext":
        return conv_next_options(config)
    config.only("group_size", 1)
    config.only("stride_mode", "dw")
    config.only("attn_layer", "se")
    config.only("norm_layer", "batchnorm2d")
    config.only("norm_layer_cl", "")
    for name in ("pre_norm_act", "attn_early"):
        config.only(name, False)
    for name in ("pool_type", "downsample_pool_type"):
        config.only(name, "avg2")
    config.only("init_values", 1e-6, None, why="only ConvNeXt's blocks have a layer scale")
    return {
        "expansion": config["expand_ratio"],
        "expand_output": config["expand_output"],
        "squeeze": config["attn_ratio"],
        "kernel_size": config["kernel_size"],
        "conv_bias": config["output_bias"],
        "padding": padding(config),
        "conv_norm": partial(nn.BatchNorm2d, eps=config["norm_eps"]),
        "conv_activation": config.activation("act_layer"),
        "squeeze_activation": config.activation("attn_act_layer", "silu"),
    }


def padding(config: Config) -> str:
    return {"same": "same", "": "symmetric"}[config.only("padding", "", "same")]


def conv_next_options(config: Config) -> dict[str, Any]:
    """Its block has kernels of 7 whatever the config says, and reads nothing of squeezes and expansions of mobile convolutions."""
    config.unaffected_by("kernel_size", "group_size", "expand_output", "pre_norm_act", "attn_early", "pool_type")
    config.unaffected_by("attn_layer", "attn_act_layer", "attn_ratio", "downsample_pool_type", "norm_layer_cl")
    config.only("padding", "", why="only its stem would be padded so")
    config.only("output_bias", True)
    config.only("stride_mode", "dw")
    config.only("norm_layer", "layernorm2d")
    eps, activation = config["norm_eps"], config.activation("act_layer")
    block = partial(
        ConvNeXtBlock,
        mlp_ratio=config["expand_ratio"],
        norm=layer_norm(eps),
        activation=activation,
        layer_scale=config.get("init_values"),
    )
    return {
        "conv_block": block,
        "padding": "symmetric",
        "conv_norm": partial(map_layer_norm, eps=eps),
        "conv_activation": activation,
    }


def transformer_options(config: Config, image: tuple[int, int]) -> dict[str, Any]:
    """Of both attentions. Windows and grids are of one size."""
    config.only("norm_layer", "layernorm2d")
    config.only("norm_layer_cl", "layernorm")
    config.only("pool_type", "avg2", why="only CoAtNet's blocks pool")
    for name in ("expand_first", "shortcut_bias", "use_nchw_attn"):
        config.get(name)  # see WITHOUT_EFFECT in test_config.py
    ratio = config["partition_ratio"]
    window = config.get("window_size")
    size = (image[0] // ratio, image[1] // ratio) if window is None else pair(window)
    if window is not None and config.get("grid_size") is not None and pair(config["grid_size"]) != size:
        raise config.refuse("grid_size", f"our model has grids of the windows' size {size}")
    if window is None and config.get("grid_size") is not None:
        raise config.refuse("grid_size", "theirs takes it from the image where it takes windows from it")
    kind = config.only("rel_pos_type", "bias", "bias_tf", "mlp")
    bias = partial(LogSpacedBias, mlp_dim=config["rel_pos_dim"], span=None, limit=None)
    config.get("head_first")
    return {
        "head_dim": config["dim_head"],
        "window": size,
        "mlp_ratio": config["expand_ratio"],
        "qkv_bias": config["attn_bias"],
        "attn_dropout": config["attn_drop"],
        "dropout": config["proj_drop"],
        "layer_scale": config.get("init_values"),
        "activation": config.activation("act_layer"),
        "norm": layer_norm(config["norm_eps"]),
        "bias_factory": bias if kind == "mlp" else None,
        "partitions": (GridWindows,) if config.get("no_block_attn", False) else (Windows, GridWindows),
    }


def timm(config: Config) -> MaxViT:
    """It takes images of other sizes that windows divide at every stage; so do ours."""
    config.only("global_pool", "avg")
    config.same_size("img_size")
    cfg, image = config["cfg"], pair(config["img_size"])
    stages = len(cfg["embed_dim"])
    if list(cfg["block_type"]) != ["M"] * stages:
        raise cfg.refuse("block_type", "our model has MaxViT's blocks alone")
    cfg.get("weight_init")
    transformer = transformer_options(cfg["transformer_cfg"], image)
    for s in range(stages):
        sides = [side // 2 ** (s + 2) for side in image]
        if any(
            side * 2 ** (s + 2) != full or side % size
            for side, full, size in zip(sides, image, transformer["window"], strict=True)
        ):
            raise config.refuse("img_size", f"windows of {transformer['window']} do not divide the map {sides}")
    return MaxViT(
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dims=cfg["embed_dim"],
        depths=cfg["depths"],
        stem_dims=pair(cfg["stem_width"]),
        stem_bias=cfg["stem_bias"],
        head_hidden_dim=cfg.get("head_hidden_size"),
        image_size=image,
        **conv_options(cfg["conv_cfg"]),
        **transformer,
    )


def key_map(config: Config) -> KeyMap:
    own = config["cfg"]["transformer_cfg"]
    return partial(layouts.timm, head_first=own["head_first"], mirror=own["rel_pos_type"] == "bias_tf")


def corner(x: Tensor, grid: Any, like: Tensor) -> Tensor:
    _, channels, rows, columns = like.shape
    return rearrange(x, "b (h w) c -> b c h w", h=grid[0])[:, :channels, :rows, :columns]


def stage_map(model: Any, case: Case, stage: int) -> Tensor:
    x, grid = model.forward_stages(case.input)[stage]
    return corner(x, grid, case.outputs[f"stage{stage}"])


def token_map(model: Any, case: Case) -> Tensor:
    x, grid = model.encode(case.input)
    return corner(x, grid, case.outputs["tokens"])


BUILDERS = {
    (name, "timm"): Builder(timm, {"stage{}": stage_map, "tokens": token_map}, key_map=key_map)
    for name in ("MaxViT", "MaxxViT")
}
