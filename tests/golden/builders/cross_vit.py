"""CrossViT."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import ConvEmbed, CrossViT
from vitblocks.checkpoint import KeyMap, Rule
from vitblocks.zoo.cross_vit import ThreeConvStem


def cross_vit(config: Config, image_size: tuple[int, int], branch_sizes: list[tuple[int, int]]) -> CrossViT:
    """The heads of a fusion are those of the branch that is asked. The last number of a block's depth counts its fusions, 0 for one."""
    config.only("qk_scale", None)
    config.only("hybrid_backbone", None)
    config.only("crop_scale", False)
    config.only("global_pool", "token")
    if len(config["patch_size"]) != 2:
        raise config.refuse("patch_size", "our model has two branches")
    if any(fusions > 1 for _, _, fusions in config["depth"]):
        raise config.refuse(
            "depth", "theirs lets all fusions but the first read the class token alone, ours reads the patches again"
        )
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
        channels=config.get("in_chans", 3),
        depth=len(config["depth"]),
        cross_attn_heads=(config["num_heads"][1], config["num_heads"][0]),
        stem=ThreeConvStem if config.get("multi_conv", False) else ConvEmbed,
        qkv_bias=config["qkv_bias"],
        **options,
    )


def key_map(layout: str, config: Config) -> KeyMap:
    """The layout, with the fusions of a block numbered where their number is not 0."""

    def of_block(rule: Rule, k: int, fusions: int) -> Rule:
        number = "fusion.{i}.0." if fusions else "fusion.{i}."
        theirs = [
            key.replace("{k}", str(k)).replace("fusion.{i}.", number)
            for key in ([rule.theirs] if isinstance(rule.theirs, str) else rule.theirs)
        ]
        return replace(rule, theirs=tuple(theirs), ours=str(rule.ours).replace("{k}", str(k)))

    rules = [rule for rule in CrossViT.layouts[layout] if isinstance(rule, Rule)]
    fusions = [rule for rule in rules if "fusion.{i}." in str(rule.theirs)]
    blocks = enumerate(count for _, _, count in config["depth"])
    return [*(of_block(rule, k, count) for k, count in blocks for rule in fusions), *rules]


def timm(config: Config) -> CrossViT:
    height, width = pair(config["img_size"])
    sizes = [(int(height * scale), int(width * scale)) for scale in config["img_scale"]]
    return cross_vit(config, (height, width), sizes)


def official(config: Config) -> CrossViT:
    """It takes any image, and makes it as large as each branch asks for."""
    return cross_vit(config, pair(list(config.image[-2:])), [pair(size) for size in config["img_size"]])


def branch_logits(model: Any, case: Case, i: int) -> Tensor:
    return model.head.branches(model.forward_features(case.input))[i]


def branch_tokens(model: Any, case: Case, i: int) -> Tensor:
    return model.encode(case.input)[i][0][:, :5, :8]


def branch_features(model: Any, case: Case, i: int) -> Tensor:
    return model.encode(case.input)[i][0][:, 0]


OUTPUTS = {"logits_branch{}": branch_logits, "tokens{}": branch_tokens, "features{}": branch_features}

BUILDERS = {
    ("CrossViT", "timm"): Builder(timm, OUTPUTS, key_map=partial(key_map, "timm")),
    ("CrossViT", "official"): Builder(official, OUTPUTS, key_map=partial(key_map, "official")),
}
