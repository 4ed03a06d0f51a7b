"""SigLIP's towers of images, and those of SigLIP 2 of a fixed size and of any."""

from __future__ import annotations

from functools import partial
from math import isqrt
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tests.golden.case import Case
from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import LinearEmbed, layer_norm
from vitblocks.position import resize_table
from vitblocks.zoo import SigLIP

from .vit import timm_tower


def timm(config: Config) -> SigLIP:
    """timm's VisionTransformer without class token, pooled by attention, or by the mean of the normed patches (``fc_norm`` false)."""
    config.only("class_token", False)
    config.only("pre_norm", False)
    config.only("reg_tokens", 0)
    config.unaffected_by("no_embed_class")  # there is no class token
    pool = {"map": "map", "avg": "mean"}[config.only("global_pool", "map", "avg")]
    config.only("fc_norm", *([False] if pool == "mean" else [None, False]))
    remainder = "refuse" if config.get("dynamic_img_size", False) else "drop"  # of the one size that it takes otherwise
    return SigLIP(pool=pool, remainder=remainder, **timm_tower(config))


def hf(config: Config) -> SigLIP:
    """Hugging Face's SiglipVisionModel with its head; it has no classes."""
    config.unaffected_by("num_labels")
    config.only("vision_use_head", True)
    if not config.get("interpolate_pos_encoding", False):
        config.same_size("image_size")
    return SigLIP(
        image_size=config["image_size"],
        patch_size=config["patch_size"],
        num_classes=0,
        channels=config.get("num_channels", 3),
        dim=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        activation=config.activation("hidden_act", "gelu_pytorch_tanh"),
        remainder="drop",
        resize=resize_table,
    )


def any_size(config: Config) -> SigLIP:
    """Hugging Face's Siglip2VisionModel, whose positions are a square; the call says which patches are images."""
    config.unaffected_by("num_labels")
    config.only("vision_use_head", True)
    side, patch, dim = isqrt(config["num_patches"]), config["patch_size"], config["hidden_size"]
    channels = config.get("num_channels", 3)
    return SigLIP(
        image_size=side * patch,
        patch_size=patch,
        num_classes=0,
        channels=channels,
        dim=dim,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_dim=config["intermediate_size"],
        attn_dropout=config.get("attention_dropout", 0.0),
        norm=layer_norm(config.get("layer_norm_eps", 1e-6)),
        activation=config.activation("hidden_act", "gelu_pytorch_tanh"),
        embed=LinearEmbed(patch, dim, channels=channels),
        resize=partial(resize_table, mode="bilinear", antialias=True),
    )


def images(model: Any, case: Case) -> list[Tensor]:
    """Theirs gets them cut into patches, with padding behind, and with their (rows, columns).

    Raises ValueError where the mask says that other patches than these are of an image: for that we have no model.
    """
    patch, length = model.embed.patch_size[0], case.input.shape[1]
    for i, (h, w) in enumerate(case.config["spatial_shapes"]):
        if list(case.config["pixel_attention_mask"][i]) != [1] * (h * w) + [0] * (length - h * w):
            raise ValueError(f"pixel_attention_mask[{i}] must be 1 for the first {h} x {w} patches alone")
    return [
        rearrange(patches[None, : h * w], "b (h w) (p q c) -> b c (h p) (w q)", h=h, p=patch, q=patch)
        for patches, (h, w) in zip(case.input, case.config["spatial_shapes"], strict=True)
    ]


ANY_SIZE = {
    "pooled": lambda model, case: torch.cat([model(image) for image in images(model, case)]),
    "tokens": lambda model, case: torch.cat([model.encode(image)[0][:, :6, :8] for image in images(model, case)]),
}

BUILDERS = {
    **{(name, "timm"): Builder(timm) for name in ("SigLIP", "SigLIP 2", "SigLIP (mean pooling)")},
    ("SigLIP", "hf", r"SiglipVisionModel$"): Builder(hf),
    ("SigLIP 2", "hf", r"Siglip2VisionModel$"): Builder(
        any_size, ANY_SIZE, settings=("spatial_shapes", "pixel_attention_mask")
    ),
}
