"""EVA (arXiv:2211.07636) and EVA-02 (arXiv:2303.11331)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch import nn
from typing_extensions import Unpack

from ...attention import GlobalAttention, QVBiasLinear
from ...block import Block, ResidualPostNormBlock
from ...checks import check_choice
from ...embed import ConvEmbed
from ...feedforward import Activation, GatedMlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool, MeanPool
from ...position import LearnedPosition, Rotary2d, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid
from ..vit import BranchOptions, ViT, vit_blocks
from .layouts import LAYOUTS
from .origins import ORIGINS


@part
class EVA(Model):
    """ViT as EVA has it, without a bias of the keys; EVA-02 adds rotary positions, a gated feed-forward and norms within branches.

    Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"mean"`` norms the mean of the patches; ``"cls"`` reads the class token after the norm, as CLIP's towers do.
        positions_rotary: factory from a head's channels to rotary positions: ``partial(Rotary2d, base=10000.0, grid=16)`` for EVA-02; None
            for none.
        attn_norm: factory of a norm before the output projection (EVA-02-CLIP), or None.
        block: class of the blocks: :class:`~vitblocks.Block`, or :class:`~vitblocks.block.ResidualPostNormBlock` (EVA-02-E).
        channels: of the image.
        emb_dropout: after the positions.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        resize: how positions are resized for another image.
        head_dim, qk_norm, dropout, attn_dropout: see :class:`~vitblocks.ViT`.
        feedforward: class of the feed-forward: :class:`~vitblocks.Mlp`, or :class:`~vitblocks.GatedMlp` with ``activation=nn.SiLU``, for
            the larger ones of EVA-02 with an inner norm: ``partial(GatedMlp, norm=LayerNorm)``.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``pool`` is unknown.
    """

    layouts = LAYOUTS
    origins = ORIGINS

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
        pool: Literal["cls", "mean"] = "mean",
        positions_rotary: Callable[[int], nn.Module] | None = None,
        attn_norm: NormFactory | None = None,
        block: Callable[..., nn.Module] = Block,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = None,
        resize: Resize = resize_table,
        **options: Unpack[BranchOptions],
    ) -> None:
        check_choice("pool", pool, ("cls", "mean"))

        def attention(dim: int, heads: int, *, head_dim: int | None, **others: Any) -> GlobalAttention:
            width = dim // heads if head_dim is None else head_dim
            joined = heads * width
            proj = None if attn_norm is None else nn.Sequential(attn_norm(joined), nn.Linear(joined, dim))
            rotary = None if positions_rotary is None else positions_rotary(width)
            qkv = QVBiasLinear(dim, [joined] * 3)
            return GlobalAttention(dim, heads, head_dim=head_dim, qkv=qkv, rotary=rotary, proj=proj, **others)

        blocks = vit_blocks(
            dim,
            heads,
            mlp_dim,
            drop_path_schedule(drop_path, depth),
            norm=norm,
            activation=activation,
            layer_scale=layer_scale,
            attention=attention,
            block=block,
            qkv_bias=False,
            **options,
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        ClassToken(dim),
                        LearnedPosition(dim, patch_grid(image_size, patch_size), num_prefix=1, resize=resize),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim) if pool == "cls" else None,
            pool=ClassPool() if pool == "cls" else MeanPool(norm(dim)),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    small = {
        "positions_rotary": partial(Rotary2d, base=10000.0, grid=16),
        "feedforward": GatedMlp,
        "activation": nn.SiLU,
    }
    large = {**small, "feedforward": partial(GatedMlp, norm=LayerNorm)}
    clip = {**large, "attn_norm": LayerNorm, "pool": "cls"}
    giant = (1408, 40, 16, 6144)
    rows: tuple[tuple[str, int, int, tuple[int, int, int, int], int, dict[str, Any]], ...] = (
        ("eva_giant_patch14_224", 14, 224, giant, 1000, {}),
        ("eva_giant_patch14_336", 14, 336, giant, 1000, {}),
        ("eva_giant_patch14_560", 14, 560, giant, 1000, {}),
        ("eva_giant_patch14_clip_224", 14, 224, giant, 1024, {"pool": "cls"}),
        ("eva02_tiny_patch14_224", 14, 224, (192, 12, 3, 512), 0, small),
        ("eva02_tiny_patch14_336", 14, 336, (192, 12, 3, 512), 1000, small),
        ("eva02_small_patch14_224", 14, 224, (384, 12, 6, 1024), 0, small),
        ("eva02_small_patch14_336", 14, 336, (384, 12, 6, 1024), 1000, small),
        ("eva02_base_patch14_224", 14, 224, (768, 12, 12, 2048), 0, large),
        ("eva02_base_patch14_448", 14, 448, (768, 12, 12, 2048), 1000, large),
        ("eva02_large_patch14_224", 14, 224, (1024, 24, 16, 2730), 0, large),
        ("eva02_large_patch14_448", 14, 448, (1024, 24, 16, 2730), 1000, large),
        ("eva02_base_patch16_clip_224", 16, 224, (768, 12, 12, 2048), 512, clip),
        ("eva02_large_patch14_clip_224", 14, 224, (1024, 24, 16, 2730), 768, clip),
        ("eva02_large_patch14_clip_336", 14, 336, (1024, 24, 16, 2730), 768, clip),
        (
            "eva02_enormous_patch14_clip_224",
            14,
            224,
            (1792, 64, 16, 15360),
            1024,
            {"block": ResidualPostNormBlock, "pool": "cls"},
        ),
    )
    plain = {
        "patch_size": 14,
        "dim": 1024,
        "depth": 24,
        "heads": 16,
        "mlp_dim": 4096,
        "pool": "mean",
        "prefix_tokens": 1,
    }
    return {
        **{f"eva_large_patch14_{size}": Variant(ViT, {"image_size": size, **plain}) for size in (196, 336)},
        **{
            name: Variant(
                EVA,
                {
                    "image_size": size,
                    "patch_size": patch,
                    "num_classes": classes,
                    **dict(zip(("dim", "depth", "heads", "mlp_dim"), widths, strict=True)),
                    **options,
                },
            )
            for name, patch, size, widths, classes, options in rows
        },
    }


# EVA: Table 2; EVA-02: Table 1; EVA-CLIP: Table 2 of arXiv:2303.15389. A head with a bias, as timm has it. The large
# EVA is a plain ViT.
VARIANTS: Variants = _variants()
