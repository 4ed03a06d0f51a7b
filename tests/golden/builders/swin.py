"""Swin."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import Swin
from vitblocks.zoo.sizes import patch_grid


def swin(config: Config) -> Swin:
    """timm makes windows that are larger than the map of a stage as small as the map.

    Where windows do not divide the map it rolls before it pads, and attends to the padding; ours does neither.
    """
    config.only("global_pool", "avg")
    config.only("head_dim", None)
    config.only("patch_norm", True)
    config.same_size("img_size")
    grid, stages = patch_grid(pair(config["img_size"]), pair(config["patch_size"])), len(config["depths"])
    window = pair(config["window_size"])
    for i in range(stages):
        sides = [-(-side // 2**i) for side in grid]
        if any(side > size and side % size for side, size in zip(sides, window, strict=True)):
            raise config.refuse("window_size", f"timm pads the map of {sides} for it in another way than ours")
        if i < stages - 1 and any(side % 2 for side in sides):
            raise config.refuse("img_size", f"timm pads the map of {sides} before it merges patches, ours refuses it")
    return Swin(
        num_classes=config["num_classes"],
        patch_size=pair(config["patch_size"]),
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config.each("num_heads", stages),
        window=window,
        mlp_ratio=config["mlp_ratio"],
        channels=config.get("in_chans", 3),
        qkv_bias=config["qkv_bias"],
        image_size=pair(config["img_size"]),
        activation=config.activation("act_layer"),
    )


BUILDERS = {("Swin", "timm"): Builder(swin)}
