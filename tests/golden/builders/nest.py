"""NesT."""

from __future__ import annotations

from torch import nn

from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import NesT
from vitblocks.zoo.nest import SameMaxPool2d


def nest(config: Config) -> NesT:
    """timm's plain variants pad by 1 on every side and have the exact GELU; those named jx and the authors' code do not."""
    height, width = pair(config["img_size"])
    if height != width:
        raise config.refuse("img_size", "timm takes square images alone")
    config.only("global_pool", "avg")
    levels = config["num_levels"]
    return NesT(
        image_size=height,
        patch_size=config["patch_size"],
        dim=config.each("embed_dims", levels),
        heads=config.each("num_heads", levels),
        num_hierarchies=levels,
        block_repeats=config.each("depths", levels),
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        mlp_mult=config["mlp_ratio"],
        qkv_bias=config["qkv_bias"],
        activation=config.activation("act_layer"),
        pool={"": lambda: nn.MaxPool2d(3, 2, 1), "same": SameMaxPool2d}[config.only("pad_type", "", "same")],
    )


BUILDERS = {("NesT", "timm"): Builder(nest)}
