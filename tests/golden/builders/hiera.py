"""Hiera."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

from einops import rearrange
from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import Hiera, layer_norm
from vitblocks.zoo.hiera import DoublingBlock, ExpandingBlock

from .vit import ANTIALIASED


def check_units(config: Config, tokens: list[int], *, stages: int, unit: str, stride: str) -> None:
    """Theirs takes tokens apart by every stride, whether a stage pools or not, and mask units are what lies together then.

    Raises:
        ConfigError: tokens do not divide, or units are none of those that lie together.
    """
    for side, size, step in zip(tokens, config.get(unit, (8, 8)), config.get(stride, (2, 2)), strict=True):
        if side % step ** (stages - 1) or side % size:
            raise config.refuse(unit, f"{side} tokens do not divide by it, and by {stages - 1} strides of {step}")
        if step ** (stages - 1) % size:
            raise config.refuse(unit, f"it does not divide {stages - 1} strides of {step}")


def timm(config: Config) -> Hiera:
    """timm's takes images of one size. A norm that it names is one of an epsilon of 1e-6."""
    config.same_size("img_size")
    config.only("global_pool", "avg")
    config.only("norm_layer", "LayerNorm", "layernorm")
    config.only("sep_pos_embed", False, why="it is for videos")
    config.unaffected_by("fix_init", "head_init_scale")  # the weights are made from their names
    depths, mul, more = config.get("stages", (2, 3, 16, 3)), config.get("dim_mul", 2.0), config.get("head_mul", 2.0)
    dims, heads = [config["embed_dim"]], [config["num_heads"]]
    for _ in depths[1:]:
        dims.append(int(dims[-1] * mul))
        heads.append(int(heads[-1] * more))
    absolute, expand = config.get("abs_win_pos_embed", False), config.get("use_expand_proj", True)
    if not expand and mul != 2:
        raise config.refuse("use_expand_proj", "it doubles the channels")
    if mul == 1:
        raise config.refuse("dim_mul", "nothing but channels that change are pooled there")
    step = pair(config.get("patch_stride", (4, 4)))
    tokens = [side // s for side, s in zip(pair(config["img_size"]), step, strict=True)]
    check_units(config, tokens, stages=len(depths), unit="mask_unit_size", stride="q_stride")
    table = config.get("global_pos_size", (14, 14))
    return Hiera(
        image_size=pair(config["img_size"]),
        num_classes=config["num_classes"],
        dims=dims,
        depths=depths,
        heads=heads,
        window=pair(config.get("mask_unit_size", (8, 8))),
        in_units=config.get("mask_unit_attn", (True, True, False, False)),
        query_pools=config.get("q_pool", 3),
        query_stride=pair(config.get("q_stride", (2, 2))),
        patch_size=pair(config.get("patch_kernel", (7, 7))),
        patch_stride=step,
        patch_padding=pair(config.get("patch_padding", (3, 3))),
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("in_chans", 3),
        layer_scale=config.get("init_values"),
        position_grid=pair(table) if absolute else None,
        resize=ANTIALIASED,
        pooling_block=ExpandingBlock if expand else DoublingBlock,
    )


HF_OTHERS = ("decoder_hidden_size", "decoder_depth", "decoder_num_heads", "normalize_pixel_loss", "mask_ratio")


def hf(config: Config) -> Hiera:
    """Hugging Face's units shrink where a stage does not pool, too, and its first blocks attend in units where their stage does."""
    config.unaffected_by("stage_names", "out_features", "out_indices", "layer_norm_init", *HF_OTHERS)
    resized = config.get("interpolate_pos_encoding", False)
    size = pair(config["image_size"])
    if resized and size[0] != size[1]:
        raise config.refuse("image_size", "theirs takes every table of positions for square")
    if not resized:
        config.same_size("image_size")
    depths, mul = config["depths"], config["embed_dim_multiplier"]
    in_units, pools = config["masked_unit_attention"], config["num_query_pool"]
    if any(now and not before for before, now in pairwise(in_units)):
        raise config.refuse("masked_unit_attention", "ours attends in the first block as the stage before did")
    if pools < len(depths) - 1 and any(in_units[pools:]):
        raise config.refuse("masked_unit_attention", "ours keeps its units where nothing is pooled")
    dims = [int(config["embed_dim"] * mul**s) for s in range(len(depths))]
    config.only("hidden_size", dims[-1], why="it is made of embed_dim, and there is no other")
    step = pair(config["patch_stride"])
    tokens = [side // s for side, s in zip(config.image[-2:], step, strict=True)]
    check_units(config, tokens, stages=len(depths), unit="masked_unit_size", stride="query_stride")
    return Hiera(
        image_size=size,
        num_classes=config["num_labels"],
        dims=dims,
        depths=depths,
        heads=config.each("num_heads", len(depths)),
        window=pair(config["masked_unit_size"]),
        in_units=in_units,
        query_pools=pools,
        query_stride=pair(config["query_stride"]),
        patch_size=pair(config["patch_size"]),
        patch_stride=step,
        patch_padding=pair(config["patch_padding"]),
        mlp_ratio=config["mlp_ratio"],
        channels=config.get("num_channels", 3),
        norm=layer_norm(config["layer_norm_eps"]),
        activation=config.activation("hidden_act"),
    )


def unrolled(model: Hiera, x: Tensor, grid: Any, stage: int) -> Tensor:
    """Tokens in the order that theirs have, where those that are pooled together are far apart."""
    strides = [getattr(other.transition, "stride", (1, 1)) for other in model.stages]
    down, right = max(strides)
    pools = sum(prod(stride) > 1 for stride in strides[: stage + 1])
    (height, width), left = grid, len(strides) - 1 - pools
    for _ in range(left):
        height, width = height // down, width // right
        x = rearrange(x, "b (h p w q) c -> (b p q) (h w) c", h=height, w=width, p=down, q=right)
    return x.reshape(-1, prod(grid), x.shape[-1])


def stage_tokens(model: Any, case: Case, stage: int) -> Tensor:
    x, grid = model.forward_stages(case.input)[stage]
    _, count, channels = case.outputs[f"stage{stage}"].shape
    return unrolled(model, x, grid, stage)[:, :count, :channels]


def last_tokens(model: Any, case: Case) -> Tensor:
    x, grid = model.forward_stages(case.input)[-1]
    _, count, channels = case.outputs["tokens"].shape
    return unrolled(model, x, grid, len(model.stages) - 1)[:, :count, :channels]


def stage_map(model: Any, case: Case, stage: int) -> Tensor:
    x, grid = model.forward_stages(case.input)[stage]
    _, channels, rows, columns = case.outputs[f"stage{stage}"].shape
    return rearrange(x, "b (h w) c -> b c h w", h=grid[0])[:, :channels, :rows, :columns]


BUILDERS = {
    ("Hiera", "timm"): Builder(timm, {"stage{}": stage_map, "tokens": last_tokens}),
    ("Hiera", "hf"): Builder(hf, {"stage{}": stage_tokens, "tokens": last_tokens}),
}
