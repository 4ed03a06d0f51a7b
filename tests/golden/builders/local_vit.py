"""LocalViT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from tests.golden.check import Builder
from vitblocks import EfficientChannelAttention, LocalViT, SqueezeExcite


def local_vit(config: dict[str, Any]) -> LocalViT:
    """The authors' ``act`` numbers the pairs of activation and channel attention."""
    dim = config["embed_dim"]
    channel_attention: dict[int, Callable[[int], nn.Module]] = {
        3: partial(SqueezeExcite, reduction=config["reduction"]),
        4: EfficientChannelAttention.for_channels,
        5: partial(EfficientChannelAttention.for_channels, gate=nn.Hardsigmoid),
    }
    return LocalViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        activation=nn.ReLU6 if config["act"] == 1 else nn.Hardswish,
        channel_attention=channel_attention.get(config["act"]),
    )


BUILDERS = {("LocalViT", "official"): Builder(local_vit)}
