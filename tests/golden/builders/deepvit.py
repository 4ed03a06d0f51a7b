"""DeepViT."""

from __future__ import annotations

from typing import Any

from tests.golden.check import Builder
from vitblocks import DeepViT
from vitblocks.zoo.deepvit import deepvit_with_stem


def deepvit(config: dict[str, Any]) -> DeepViT:
    """The authors' ``apply_transform`` says of each block whether it re-attends: in their models the last ones do."""
    dim, heads, re_attends = config["embed_dim"], config["num_heads"], config["apply_transform"]
    assert re_attends == sorted(re_attends)
    build = deepvit_with_stem if config.get("use_cnn_embed") else DeepViT
    return build(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=len(config["depth"]),
        heads=heads,
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        re_attention_depth=sum(re_attends),
        weight_scale=(dim // heads) ** -0.5 if config.get("transform_scale") else 1.0,
        rescale=config.get("scale_adjustment"),
    )


BUILDERS = {("DeepViT", "official"): Builder(deepvit)}
