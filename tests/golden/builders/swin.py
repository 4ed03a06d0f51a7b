"""Swin."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder, Output
from tests.golden.config import Config, pair
from vitblocks import Swin


def swin(config: Config) -> Swin:
    """timm makes windows that are larger than the map of a stage as small as the map.

    Where windows do not divide the map it rolls before it pads, and attends to the padding. It takes another image than the one that a
    model is made for if ``dynamic_img_size`` says so, and if that divides into patches.
    """
    config.only("global_pool", "avg")
    config.only("head_dim", None)
    config.only("patch_norm", True)
    patch, stages = pair(config.get("patch_size", 4)), len(config["depths"])
    if not config.get("dynamic_img_size", False):
        config.same_size("img_size")
    elif any(side % size for side, size in zip(config.image[-2:], patch, strict=True)):
        raise config.refuse("patch_size", f"it does not divide the image of {config.image[-2:]}")
    return Swin(
        num_classes=config["num_classes"],
        patch_size=patch,
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config.each("num_heads", stages),
        window=pair(config["window_size"]),
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("in_chans", 3),
        qkv_bias=config.get("qkv_bias", True),
        image_size=pair(config["img_size"]),
        activation=config.activation("act_layer"),
        padding="timm",
    )


def hf(config: Config) -> Swin:
    """Hugging Face's pads images and maps, rolls them after that, and attends to the padding.

    A map with a side that is less than a window has windows of that side there, for which its bias tables are too large.
    """
    config.only("layer_norm_eps", 1e-5)
    config.only("use_absolute_embeddings", False)
    config.unaffected_by("image_size")  # it takes every image
    config.unaffected_by(
        "encoder_stride", "out_features", "out_indices", "stage_names"
    )  # of other models of that config
    patch, stages, window = config["patch_size"], len(config["depths"]), config["window_size"]
    last = min(-(-side // (patch * 2 ** (stages - 1))) for side in config.image[-2:])
    if last < window:
        raise config.refuse("window_size", f"it is larger than a side of {last} of the last map")
    config.only("num_layers", stages, why="it is the length of depths, and there is no other")
    width = config["embed_dim"] * 2 ** (stages - 1)
    config.only("hidden_size", width, why="it is made of embed_dim, and there is no other")
    return Swin(
        num_classes=config["num_labels"],
        patch_size=patch,
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config.each("num_heads", stages),
        window=window,
        mlp_ratio=config["mlp_ratio"],
        channels=config.get("num_channels", 3),
        qkv_bias=config.get("qkv_bias", True),
        activation=config.activation("hidden_act"),
        padding="hf",
    )


def stage_output(model: Any, case: Case, stage: int) -> Tensor:
    """A stage there ends with the merging that begins the next one here."""
    outputs = model.forward_stages(case.input)
    x, grid = outputs[stage]
    if stage + 1 < len(outputs):
        x, _ = model.stages[stage + 1].transition(x, grid)
    _, count, channels = case.outputs[f"stage{stage}"].shape
    return x[:, :count, :channels]


def corner(x: Tensor, grid: Any, shape: torch.Size) -> Tensor:
    """The first rows, columns and channels of tokens, as many as a map ``(B, H, W, C)`` of a case has."""
    _, rows, columns, channels = shape
    return rearrange(x, "b (h w) c -> b h w c", h=grid[0])[:, :rows, :columns, :channels]


def stage_map(model: Any, case: Case, stage: int) -> Tensor:
    x, grid = model.forward_stages(case.input)[stage]
    return corner(x, grid, case.outputs[f"stage{stage}"].shape)


def token_map(model: Any, case: Case) -> Tensor:
    x, grid = model.encode(case.input)
    return corner(x, grid, case.outputs["tokens"].shape)


MAPS: dict[str, Output] = {"stage{}": stage_map, "tokens": token_map}
"""Outputs of timm's, which keeps tokens as maps."""

BUILDERS = {
    ("Swin", "timm"): Builder(swin, MAPS),
    ("Swin", "hf", r"\bSwinForImageClassification\b"): Builder(hf, {"stage{}": stage_output}),
}
