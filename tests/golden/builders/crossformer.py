"""CrossFormer and CrossFormer++."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import CrossFormer


def crossformer(config: Config) -> CrossFormer:
    """A stage's patches are as far apart as the smallest is wide; between stages the map is halved."""
    config.only("qk_scale", None)
    config.only("ape", False)
    config.only("patch_norm", True)
    config.same_size("img_size")
    if len(set(pair(config["img_size"]))) > 1:
        raise config.refuse("img_size", "the authors' code takes square images alone")
    stages = len(config["depths"])
    return CrossFormer(
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=[config["embed_dim"] * 2**i for i in range(stages)],
        depth=config["depths"],
        global_window_size=config.each("crs_interval", stages),
        local_window_size=config.each("group_size", stages),
        cross_embed_kernel_sizes=[config["patch_size"], *config["merge_size"]],
        cross_embed_strides=[config["patch_size"][0], *[2] * (stages - 1)],
        heads=config["num_heads"],
        mlp_ratios=config.each("mlp_ratio", stages),
        amplitude_cooling=config.get("use_acl", False),
        qkv_bias=config.get("qkv_bias", True),
    )


BUILDERS = {
    ("CrossFormer", "official"): Builder(crossformer),
    ("CrossFormer++", "official"): Builder(crossformer),
}
