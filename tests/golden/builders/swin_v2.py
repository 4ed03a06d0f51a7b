"""Swin V2."""

from __future__ import annotations

from tests.golden.builders.swin import MAPS, stage_output
from tests.golden.check import Builder
from tests.golden.config import Config, pair
from vitblocks import SwinV2


def check_rest(config: Config, stages: int) -> None:
    """What is said of stages that there are none of has no effect."""
    if any(config.get("pretrained_window_sizes", [])[stages:]):
        raise config.refuse("pretrained_window_sizes", f"there are {stages} stages")


def timm(config: Config) -> SwinV2:
    """It takes another image than the one that a model is made for if it is not told to be strict, and then it must divide."""
    config.only("global_pool", "avg")
    patch, stages = pair(config.get("patch_size", 4)), len(config["depths"])
    if config.only("strict_img_size", True, False):
        config.same_size("img_size")
    elif any(side % size for side, size in zip(config.image[-2:], patch, strict=True)):
        raise config.refuse("patch_size", f"it does not divide the image of {config.image[-2:]}")
    check_rest(config, stages)
    always = config.get("always_partition", False)
    return SwinV2(
        num_classes=config["num_classes"],
        patch_size=patch,
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config.each("num_heads", stages),
        window=pair(config["window_size"]),
        pretrained_windows=config.get("pretrained_window_sizes", [0] * max(stages, 4))[:stages],
        mlp_ratio=config.get("mlp_ratio", 4.0),
        channels=config.get("in_chans", 3),
        qkv_bias=config.get("qkv_bias", True),
        image_size=None if always else pair(config["img_size"]),
        activation=config.activation("act_layer"),
        padding="timm",
    )


def hf(config: Config) -> SwinV2:
    """Its windows are those of ``image_size``; the image may be another."""
    config.only("layer_norm_eps", 1e-5)
    config.only("use_absolute_embeddings", False)
    config.unaffected_by(
        "encoder_stride", "out_features", "out_indices", "stage_names"
    )  # of other models of that config
    stages = len(config["depths"])
    config.only("num_layers", stages, why="it is the length of depths, and there is no other")
    width = config["embed_dim"] * 2 ** (stages - 1)
    config.only("hidden_size", width, why="it is made of embed_dim, and there is no other")
    if 1 in config["pretrained_window_sizes"][:stages]:
        raise config.refuse("pretrained_window_sizes", "theirs divides by 0")
    check_rest(config, stages)
    return SwinV2(
        num_classes=config["num_labels"],
        patch_size=pair(config["patch_size"]),
        dim=config["embed_dim"],
        depths=config["depths"],
        heads=config.each("num_heads", stages),
        window=config["window_size"],
        pretrained_windows=config["pretrained_window_sizes"][:stages],
        mlp_ratio=config["mlp_ratio"],
        channels=config.get("num_channels", 3),
        qkv_bias=config.get("qkv_bias", True),
        image_size=pair(config["image_size"]),
        activation=config.activation("hidden_act"),
        padding="hf",
    )


BUILDERS = {
    ("Swin V2", "timm"): Builder(timm, MAPS),
    ("Swin V2", "hf", r"\bSwinv2ForImageClassification\b"): Builder(hf, {"stage{}": stage_output}),
}
