"""LocalViT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from tests.golden.check import Builder
from tests.golden.config import Config
from vitblocks import EfficientChannelAttention, LocalViT, SqueezeExcite


def local_vit(config: Config) -> LocalViT:
    """The authors' ``act`` numbers the pairs of activation and channel attention. ``reduction`` is that of the squeeze alone."""
    config.only("wo_dp_conv", False)
    config.only("dp_first", False)
    config.only("qk_scale", None)
    config.only("hybrid_backbone", None)
    dim, act = config["embed_dim"], config.only("act", 3, 1, 2, 4, 5)
    channel_attention: dict[int, Callable[[int], nn.Module]] = {
        3: partial(SqueezeExcite, reduction=config.get("reduction", 4)),
        4: EfficientChannelAttention.for_channels,
        5: partial(EfficientChannelAttention.for_channels, gate=nn.Hardsigmoid),
    }
    return LocalViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        channels=config.get("in_chans", 3),
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        qkv_bias=config["qkv_bias"],
        activation=nn.ReLU6 if act == 1 else nn.Hardswish,
        channel_attention=channel_attention.get(act),
    )


BUILDERS = {("LocalViT", "official"): Builder(local_vit)}
