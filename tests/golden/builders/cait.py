"""CaiT."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import CaiT


def cait(config: Config, *, cls_mlp_ratio: str) -> CaiT:
    """The references call the ratio of the class blocks' feed-forward differently; it is 4 if a case does not say."""
    config.only("qk_scale", None)
    config.only("global_pool", "token", None)
    config.unaffected_by("init_values")  # where layer scale starts
    dim = config["embed_dim"]
    return CaiT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=config["depth"],
        cls_depth=config["depth_token_only"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        cls_mlp_dim=int(dim * config.get(cls_mlp_ratio, 4.0)),
        qkv_bias=config["qkv_bias"],
    )


BUILDERS = {
    ("CaiT", "timm"): Builder(lambda config: cait(config, cls_mlp_ratio="mlp_ratio_token_only")),
    ("CaiT", "official"): Builder(lambda config: cait(config, cls_mlp_ratio="mlp_ratio_clstk")),
}
