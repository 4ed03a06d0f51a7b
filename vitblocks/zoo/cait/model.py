"""CaiT: Going deeper with Image Transformers (arXiv:2103.17239)."""

from __future__ import annotations

from torch import nn

from ...attention import ClassAttention, SoftmaxAttend, TalkingHeadsAttention
from ...block import Block, ClassBlock
from ...embed import ConvEmbed
from ...feedforward import Activation, Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear, trunc_normal_mix
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool
from ...position import LearnedPosition
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ..sizes import patch_grid
from .layouts import LAYOUTS
from .origins import ORIGINS


def layer_scale_init(depth: int) -> float:
    """The starting value of layer scale by depth (Section 3.1): 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond."""
    return 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6


@part
class CaiT(Model):
    """Class-attention in image transformers: talking-heads blocks among patches, then class blocks that only the class token learns in.

    Initialised as the authors do: Linears, the mixes of the heads among them, a truncated normal of standard deviation 0.02 with zero
    biases; layer scale a constant. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks among patches, attention heads, hidden width of the feed-forward.
        cls_depth: class blocks.
        channels: of the image.
        dropout: after the attentions' projections and both Linears of the feed-forwards.
        emb_dropout: after the positions.
        layer_dropout: rate at which a sample skips a residual branch among patches, the same at every depth as published; class blocks
            are never skipped.
        attn_dropout: on the attention weights.
        layer_scale: starting value of layer scale; by depth as in the paper if None.
        cls_mlp_dim: hidden width of the class blocks' feed-forward; ``mlp_dim`` if None.
        qkv_bias: whether the projections of queries, keys and values have a bias.
        norm: factory of the norms.
        activation: factory of the feed-forwards' activation.

    Raises:
        ValueError: ``image_size`` does not divide into patches, or ``dim`` not into heads.
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
        cls_depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        layer_dropout: float = 0.0,
        attn_dropout: float = 0.0,
        layer_scale: float | None = None,
        cls_mlp_dim: int | None = None,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
    ) -> None:
        scale = layer_scale_init(depth) if layer_scale is None else layer_scale
        cls_mlp_dim = mlp_dim if cls_mlp_dim is None else cls_mlp_dim
        patch_blocks = [
            Block(
                dim,
                TalkingHeadsAttention(dim, heads, qkv_bias=qkv_bias, attn_dropout=attn_dropout, dropout=dropout),
                Mlp(dim, mlp_dim, activation=activation, dropout=dropout),
                norm=norm,
                layer_scale=scale,
                drop_path=layer_dropout,
            )
            for _ in range(depth)
        ]
        class_blocks = [
            ClassBlock(
                dim,
                ClassAttention(
                    dim, heads, qkv_bias=qkv_bias, attend=SoftmaxAttend(dropout=attn_dropout), dropout=dropout
                ),
                Mlp(dim, cls_mlp_dim, activation=activation, dropout=dropout),
                norm=norm,
                layer_scale=scale,
            )
            for _ in range(cls_depth)
        ]
        position = LearnedPosition(dim, patch_grid(image_size, patch_size))
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels),
            stages=[
                Stage([position, PerToken(nn.Dropout(emb_dropout)), *patch_blocks, ClassToken(dim), *class_blocks])
            ],
            norm=norm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)
        self.apply(trunc_normal_mix)


def _variant(size: int, dim: int, depth: int, heads: int, layer_scale: float) -> Variant:
    sizes = {"image_size": size, "patch_size": 16, "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim}
    return Variant(CaiT, {**sizes, "cls_depth": 2, "layer_scale": layer_scale})


# Table 2 of the paper; the layer scales are those of the authors' code, which starts the XXS models of 36 blocks at 1e-5.
VARIANTS: Variants = {
    "cait_xxs24_224": _variant(224, 192, 24, 4, 1e-5),
    "cait_xxs24_384": _variant(384, 192, 24, 4, 1e-5),
    "cait_xxs36_224": _variant(224, 192, 36, 4, 1e-5),
    "cait_xxs36_384": _variant(384, 192, 36, 4, 1e-5),
    "cait_xs24_384": _variant(384, 288, 24, 6, 1e-5),
    "cait_s24_224": _variant(224, 384, 24, 8, 1e-5),
    "cait_s24_384": _variant(384, 384, 24, 8, 1e-5),
    "cait_s36_384": _variant(384, 384, 36, 8, 1e-6),
    "cait_m36_384": _variant(384, 768, 36, 16, 1e-6),
    "cait_m48_448": _variant(448, 768, 48, 16, 1e-6),
}
