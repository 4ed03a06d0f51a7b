"""CaiT."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from vitblocks import CaiT


def cait(config: dict[str, Any]) -> CaiT:
    dim = config["embed_dim"]
    return CaiT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        cls_depth=config["depth_token_only"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
    )


BUILDERS = {("CaiT", layout): Builder(cait) for layout in ("timm", "official")}
