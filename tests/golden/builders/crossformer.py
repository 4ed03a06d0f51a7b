"""CrossFormer and CrossFormer++."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from vitblocks import CrossFormer


def crossformer(config: dict[str, Any]) -> CrossFormer:
    return CrossFormer(
        num_classes=config["num_classes"],
        dim=[config["embed_dim"] * 2**i for i in range(4)],
        depth=config["depths"],
        global_window_size=config["crs_interval"],
        local_window_size=config["group_size"],
        cross_embed_kernel_sizes=[config["patch_size"], *config["merge_size"]],
        heads=config["num_heads"],
        mlp_ratios=config["mlp_ratio"],
        amplitude_cooling=config.get("use_acl", False),
    )


BUILDERS = {
    ("CrossFormer", "official"): Builder(crossformer),
    ("CrossFormer++", "official"): Builder(crossformer),
}
