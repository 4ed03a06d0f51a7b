"""DINOv3 (arXiv:2508.10104)."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn
from typing_extensions import Unpack

from ...attention import GlobalAttention, QVBiasLinear
from ...checks import check_choice
from ...embed import ConvEmbed
from ...feedforward import Activation, GatedMlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import NormFactory, layer_norm
from ...pool import ClassPool, MeanPool
from ...position import Rotary2d
from ...prefix import ClassToken, MaskToken, PerToken, RegisterToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..vit import BranchOptions, vit_blocks
from .configs import CONFIGS
from .layouts import LAYOUTS
from .origins import ORIGINS, as_timm


@part
class DINOv3(Model):
    """ViT as DINOv3 trains it (Section 3.2): registers, layer scale, and rotary positions of patch centres in place of learned ones.

    Args:
        image_size: what the weights were last trained on; every other is taken that divides into patches.
        patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"cls"`` reads the class token after the norm, as the authors do; ``"mean"`` the mean of the normed patches, as timm does.
        registers: how many, between class token and patches.
        qkv_bias: whether queries and values have a bias; keys have none.
        mask_token: whether to carry the token that stood for masked patches, which no output depends on.
        channels: of the image.
        emb_dropout: before the blocks.
        drop_path: of the last block, rising linearly from 0.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch; None for none.
        base: of the rotary positions' frequencies.
        head_dim, qk_norm, dropout, attn_dropout: see :class:`~vitblocks.ViT`.
        feedforward: class of the feed-forward: :class:`~vitblocks.Mlp`, or :class:`~vitblocks.GatedMlp` with ``activation=nn.SiLU``.

    Raises:
        ValueError: ``dim`` does not divide into heads, their channels not by 4, or ``pool`` is unknown.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    as_timm = staticmethod(as_timm)
    configs = CONFIGS

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
        pool: Literal["cls", "mean"] = "cls",
        registers: int = 4,
        qkv_bias: bool = False,
        mask_token: bool = False,
        channels: int = 3,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm: NormFactory = layer_norm(1e-5),
        embed: nn.Module | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = 1e-5,
        base: float = 100.0,
        **options: Unpack[BranchOptions],
    ) -> None:
        check_choice("pool", pool, ("cls", "mean"))

        def attention(dim: int, heads: int, *, head_dim: int | None, **others: Any) -> GlobalAttention:
            width = dim // heads if head_dim is None else head_dim
            rotary = Rotary2d(width, base=base, pairs="halves", coordinates="centre")
            qkv = QVBiasLinear(dim, [heads * width] * 3) if qkv_bias else None
            return GlobalAttention(dim, heads, head_dim=head_dim, qkv=qkv, rotary=rotary, **others)

        blocks = vit_blocks(
            dim,
            heads,
            mlp_dim,
            drop_path_schedule(drop_path, depth),
            norm=norm,
            activation=activation,
            layer_scale=layer_scale,
            attention=attention,
            qkv_bias=False,
            **options,
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        *([MaskToken(dim)] if mask_token else []),
                        ClassToken(dim),
                        *([RegisterToken(dim, registers)] if registers else []),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim),
            pool=ClassPool() if pool == "cls" else MeanPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def _variants() -> Variants:
    gated = {"feedforward": GatedMlp, "activation": nn.SiLU}
    widths: dict[str, dict[str, Any]] = {
        "tiny": {"dim": 192, "depth": 12, "heads": 3, "mlp_dim": 768},
        "small": {"dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536},
        "small_plus": {"dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536, **gated},
        "base": {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072},
        "large": {"dim": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096},
        "huge_plus": {"dim": 1280, "depth": 32, "heads": 20, "mlp_dim": 5120, **gated},
        "7b": {"dim": 4096, "depth": 40, "heads": 32, "mlp_dim": 8192, **gated},
    }
    table: Variants = {}
    for width, options in widths.items():
        options = {"image_size": 256, "patch_size": 16, "num_classes": 0, **options}
        name = f"vit_{width}_patch16_dinov3"
        if width != "tiny":
            table[name] = Variant(DINOv3, options)
        if width != "7b":
            table[f"{name}_qkvb"] = Variant(DINOv3, {**options, "qkv_bias": True})
    return table


# Table 2 of the paper and those distilled from it. The names with "qkvb" keep biases that are zero in the published weights.
VARIANTS: Variants = _variants()
