"""NesT."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.golden.check import Builder
from vitblocks import NesT
from vitblocks.feedforward import TanhGELU
from vitblocks.zoo.nest import SameMaxPool2d


def nest(config: dict[str, Any]) -> NesT:
    """timm's plain variants pad by 1 on every side and have the exact GELU; those named jx and the authors' code do not."""
    return NesT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        dim=config["embed_dims"],
        heads=config["num_heads"],
        num_hierarchies=config["num_levels"],
        block_repeats=config["depths"],
        num_classes=config["num_classes"],
        mlp_mult=config["mlp_ratio"],
        activation={"gelu": nn.GELU, "gelu_tanh": TanhGELU}[config["act_layer"]],
        pool={"": lambda: nn.MaxPool2d(3, 2, 1), "same": SameMaxPool2d}[config["pad_type"]],
    )


BUILDERS = {("NesT", "timm"): Builder(nest)}
