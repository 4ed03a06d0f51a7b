"""ViT."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.golden.check import Builder
from vitblocks import LinearEmbed, ViT, layer_norm


def timm(config: dict[str, Any]) -> ViT:
    dim = config["embed_dim"]
    return ViT(
        image_size=config["img_size"],
        patch_size=config["patch_size"],
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        heads=config["num_heads"],
        mlp_dim=int(dim * config["mlp_ratio"]),
        pool="cls" if config["class_token"] else "mean",
        qkv_bias=config["qkv_bias"],
    )


def vit_pytorch(config: dict[str, Any], *, dual_norm: bool) -> ViT:
    """The Linear patch embedding, with a norm before and after it since 1.0. qkv has no bias, and the norms PyTorch's epsilon."""
    dim, patch = config["dim"], config["patch_size"]
    pixels = 3 * patch * patch
    norm = layer_norm(1e-5)
    proj = nn.Sequential(norm(pixels), nn.Linear(pixels, dim), norm(dim)) if dual_norm else None
    return ViT(
        image_size=config["image_size"],
        patch_size=patch,
        num_classes=config["num_classes"],
        dim=dim,
        depth=config["depth"],
        heads=config["heads"],
        head_dim=config["dim_head"],
        mlp_dim=config["mlp_dim"],
        qkv_bias=False,
        norm=norm,
        embed=LinearEmbed(patch, dim, proj=proj),
    )


BUILDERS = {
    ("ViT", "timm"): Builder(timm),
    "vit_pytorch_0_26": Builder(lambda config: vit_pytorch(config, dual_norm=False)),
    "vit_pytorch_1_26": Builder(lambda config: vit_pytorch(config, dual_norm=True)),
}
