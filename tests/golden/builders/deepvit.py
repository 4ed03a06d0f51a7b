"""DeepViT."""

from __future__ import annotations

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import DeepViT
from vitblocks.zoo.deepvit import deepvit_with_stem


def deepvit(config: Config) -> DeepViT:
    """The authors' ``apply_transform`` says of each block whether it re-attends; of ``depth`` only the length counts there."""
    config.only("qk_scale", None)
    dim, heads = config["embed_dim"], config["num_heads"]
    build = deepvit_with_stem if config.get("use_cnn_embed", False) else DeepViT
    return build(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=len(config["depth"]),
        heads=heads,
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        re_attention_depth=config["apply_transform"],
        weight_scale=(dim // heads) ** -0.5 if config.get("transform_scale", False) else 1.0,
        rescale=config.get("scale_adjustment"),
    )


BUILDERS = {("DeepViT", "official"): Builder(deepvit)}
