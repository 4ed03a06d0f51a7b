"""CrossViT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from vitblocks import ConvEmbed, CrossViT
from vitblocks.zoo.cross_vit import ThreeConvStem


def cross_vit(config: dict[str, Any], image_size: int, branch_sizes: list[int]) -> CrossViT:
    """The heads of a fusion are those of the branch that is asked; no number of fusions means one."""
    assert not any(fusions for _, _, fusions in config["depth"])
    options: dict[str, Any] = {}
    for i, branch in enumerate(("sm", "lg")):
        dim = config["embed_dim"][i]
        options |= {
            f"{branch}_dim": dim,
            f"{branch}_image_size": branch_sizes[i],
            f"{branch}_patch_size": config["patch_size"][i],
            f"{branch}_enc_depth": [blocks[i] for blocks in config["depth"]],
            f"{branch}_enc_heads": config["num_heads"][i],
            f"{branch}_enc_mlp_dim": int(dim * config["mlp_ratio"][i]),
        }
    return CrossViT(
        image_size=image_size,
        num_classes=config["num_classes"],
        depth=len(config["depth"]),
        cross_attn_heads=(config["num_heads"][1], config["num_heads"][0]),
        stem=ThreeConvStem if config["multi_conv"] else ConvEmbed,
        qkv_bias=config["qkv_bias"],
        **options,
    )


def timm(config: dict[str, Any]) -> CrossViT:
    return cross_vit(config, config["img_size"], [round(config["img_size"] * scale) for scale in config["img_scale"]])


def official(config: dict[str, Any]) -> CrossViT:
    """It takes any image; those of the cases have the size of the large patches' branch."""
    return cross_vit(config, config["img_size"][1], config["img_size"])


def branch_logits(i: int) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: model.head.branches(model.forward_features(case.input))[i]


def branch_tokens(i: int) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: model.encode(case.input)[i][0][:, :5, :8]


def branch_features(i: int) -> Callable[[Any, Case], Tensor]:
    return lambda model, case: model.encode(case.input)[i][0][:, 0]


OUTPUTS = {
    f"{name}{i}": output(i)
    for i in range(2)
    for name, output in (("logits_branch", branch_logits), ("tokens", branch_tokens), ("features", branch_features))
}

BUILDERS = {("CrossViT", "timm"): Builder(timm, OUTPUTS), ("CrossViT", "official"): Builder(official, OUTPUTS)}
