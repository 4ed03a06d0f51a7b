"""SigLIP: Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343)."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from typing_extensions import Unpack

from ...checks import check_choice
from ...embed import ConvEmbed
from ...embed.adaptors import Remainder
from ...feedforward import Activation, Mlp, TanhGELU
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import AttentionPool, MeanPool
from ...position import LearnedPosition, resize_table
from ...position.resize import Resize
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BlockOptions, vit_blocks
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS, as_timm


@part
class SigLIP(Model):
    """SigLIP's tower of images: ViT without a class token, pooled by attention of a learned probe (the MAP head of arXiv:2106.04560).

    SigLIP 2 (arXiv:2502.14786) of a fixed size is the same. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for the embedding of the image, which is what the pool gives; it is not normed to length 1.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward and of that of the pool.
        pool: ``"map"``, or ``"mean"`` for the mean of the normed patches.
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: the tanh approximation of GELU, with which the authors train. timm has nn.GELU for some of the weights, which moves
            outputs by about 1e-4.
        remainder: what becomes of an image that does not divide into patches, see :class:`~vitblocks.ConvEmbed`. So400m of patches of
            14 pixels was trained on 384 of them, of which 6 are dropped.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how positions are resized for another image.
        head_dim, qk_norm, qkv_bias, dropout, attn_dropout, feedforward: see :class:`~vitblocks.ViT` and
            :func:`~vitblocks.zoo.vit.vit_blocks`.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``pool`` is unknown.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    configs = CONFIGS
    as_timm = staticmethod(as_timm)

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
        pool: Literal["map", "mean"] = "map",
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = TanhGELU,
        remainder: Remainder = "refuse",
        layer_scale: float | None = None,
        resize: Resize = resize_table,
        **options: Unpack[BlockOptions],
    ) -> None:
        check_choice("pool", pool, ("map", "mean"))
        rates = drop_path_schedule(drop_path, depth)
        blocks = vit_blocks(
            dim, heads, mlp_dim, rates, norm=norm, activation=activation, layer_scale=layer_scale, **options
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels, remainder=remainder) if embed is None else embed,
            stages=[
                Stage(
                    [
                        LearnedPosition(dim, patch_grid(image_size, patch_size, remainder), resize=resize),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim),
            pool=AttentionPool(dim, heads, mlp=Mlp(dim, mlp_dim, activation=activation), norm=norm)
            if pool == "map"
            else MeanPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    widths = {
        "base": {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072},
        "large": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
        "so400m": {"dim": 1152, "depth": 27, "heads": 16, "mlp_dim": 4304},
        "giantopt": {"dim": 1536, "depth": 40, "heads": 16, "mlp_dim": 6144},
    }
    towers = (
        ("base", 16, (224, 256, 384, 512)),
        ("base", 32, (256,)),
        ("large", 16, (256, 384, 512)),
        ("so400m", 14, (224, 378, 384, 448, 896)),
        ("so400m", 16, (256, 384, 512)),
        ("giantopt", 16, (256, 384)),
    )
    table: Variants = {}
    for width, patch, size in ((width, patch, size) for width, patch, sizes in towers for size in sizes):
        options: dict[str, Any] = {"image_size": size, "patch_size": patch, "num_classes": 0, **widths[width]}
        if size % patch:
            options["remainder"] = "drop"
        for kind, pool in (("siglip", "map"), ("siglip_gap", "mean")):
            if kind == "siglip" and size in (448, 896):
                continue  # never published
            table[f"vit_{width}_patch{patch}_{kind}_{size}"] = Variant(SigLIP, {**options, "pool": pool})
    return table


# Table 1 of SigLIP 2, and the towers of PaliGemma (arXiv:2407.07726), which end without a pool. All with the tanh GELU they were
# trained with.
VARIANTS: Variants = _variants()
