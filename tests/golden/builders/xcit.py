"""XCiT."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import XCiT


def xcit(config: Config) -> XCiT:
    config.only("global_pool", "token", None)
    config.unaffected_by("eta")  # where layer scale starts
    dim = config["embed_dim"]
    return XCiT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config.get("mlp_ratio", 4.0)),
        cls_depth=config.get("cls_attn_layers", 2),
        qkv_bias=config.get("qkv_bias", True),
        norm_patches=config.get("tokens_norm", False),
        positions=config.get("use_pos_embed", True),
    )


BUILDERS = {("XCiT", "timm"): Builder(xcit)}
