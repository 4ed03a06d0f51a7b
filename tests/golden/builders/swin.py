"""Swin."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from vitblocks import Swin


def swin(config: dict[str, Any]) -> Swin:
    return Swin(
        num_classes=config["num_classes"],
        patch_size=config["patch_size"],
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config["num_heads"],
        window=config["window_size"],
        mlp_ratio=config["mlp_ratio"],
        qkv_bias=config["qkv_bias"],
    )


BUILDERS = {("Swin", "timm"): Builder(swin)}
