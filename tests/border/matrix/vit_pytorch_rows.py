"""vit-pytorch's models, which have no config: a file of ``torch.save``, and ours from its description."""

from __future__ import annotations

from typing import Any

from torch import nn

from .row import Pair, Row
from .timm_rows import by_recipe


def vit(pool: str) -> Any:
    def make(classes: int, channels: int, size: Pair) -> nn.Module:
        from vit_pytorch import ViT

        sizes = {"dim": 64, "depth": 3, "heads": 4, "dim_head": 16, "mlp_dim": 128, "patch_size": 8}
        module: nn.Module = ViT(image_size=size, num_classes=classes, channels=channels, pool=pool, **sizes)
        return module

    return make


def cct(classes: int, channels: int, size: Pair) -> nn.Module:
    from vit_pytorch.cct import CCT

    module: nn.Module = CCT(
        img_size=size,
        num_classes=classes,
        n_input_channels=channels,
        embedding_dim=64,
        n_conv_layers=2,
        kernel_size=3,
        stride=1,
        padding=1,
        num_layers=3,
        num_heads=4,
        mlp_ratio=2.0,
        positional_embedding="learnable",
    )
    return module


OTHERS = ((96, 96), (64, 96))

ROWS: dict[str, Row] = {
    "vit-pytorch: ViT": Row(vit("cls"), by_recipe, (64, 64), made_for=OTHERS),
    "vit-pytorch: ViT, mean": Row(vit("mean"), by_recipe, (64, 64), made_for=OTHERS),
    "vit-pytorch: CCT": Row(cct, by_recipe, (64, 64), made_for=OTHERS),
}
