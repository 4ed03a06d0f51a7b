"""DeiT III: Revenge of the ViT (arXiv:2204.07118)."""

from __future__ import annotations

from typing import Any

from torch import nn
from typing_extensions import Unpack

from ...embed import ConvEmbed
from ...feedforward import Activation
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool
from ...position import LearnedPosition, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BlockOptions, vit_blocks
from .layouts import LAYOUTS


@part
class DeiT3(Model):
    """ViT as DeiT III trains it: layer scale (Section 3.1), and a class token without a position.

    Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0; the authors' code has it the same in every block.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how positions are resized for another image.
        head_dim, qk_norm, qkv_bias, dropout, attn_dropout, feedforward, activation: see :class:`~vitblocks.ViT` and
            :func:`~vitblocks.zoo.vit.vit_blocks`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, or ``dim`` not into heads.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 1e-6,
        resize: Resize = resize_table,
        **options: Unpack[BlockOptions],
    ) -> None:
        rates = drop_path_schedule(drop_path, depth)
        blocks = vit_blocks(
            dim, heads, mlp_dim, rates, norm=norm, activation=activation, layer_scale=layer_scale, **options
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        LearnedPosition(dim, patch_grid(image_size, patch_size), resize=resize),
                        ClassToken(dim),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    widths: dict[str, tuple[int, int, int, int, tuple[int, ...]]] = {
        "small": (384, 12, 6, 16, (224, 384)),
        "medium": (512, 12, 8, 16, (224,)),
        "base": (768, 12, 12, 16, (224, 384)),
        "large": (1024, 24, 16, 16, (224, 384)),
        "huge": (1280, 32, 16, 14, (224,)),
    }
    table: Variants = {}
    for width, (dim, depth, heads, patch, sizes) in widths.items():
        options: dict[str, Any] = {"patch_size": patch, "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim}
        for size in sizes:
            table[f"deit3_{width}_patch{patch}_{size}"] = Variant(DeiT3, {"image_size": size, **options})
    return table


# Table 1 of the paper.
VARIANTS: Variants = _variants()
