"""XCiT: Cross-Covariance Image Transformers (arXiv:2106.09681)."""

from __future__ import annotations

from torch import nn

from ...attention import ClassAttention, CrossCovarianceAttention, SoftmaxAttend
from ...block import Chain
from ...checks import check_choice
from ...embed import ConvStem
from ...feedforward import Activation, Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool
from ...position import FourierPosition
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import Residual
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import NormedClassBlock, local_patch_interaction


@part
class XCiT(Model):
    """Channels attend to channels, depthwise convolutions mix neighbours, and class blocks read the patches.

    Cost is linear in the number of tokens. Every image size works: the stem rounds up, and positions are a formula of the grid. Initialised
    as the authors do: Linears a truncated normal of standard deviation 0.02 with zero biases, convolutions as PyTorch does.

    Args:
        patch_size: 8 or 16, by three or four convolutions that halve the image.
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks among patches, attention heads, hidden width of the feed-forward (``4 * dim`` if None).
        cls_depth: class blocks.
        layer_scale: starting value of layer scale; published are 1 up to 12 blocks and 1e-5 beyond.
        norm_patches: whether the second norm of class blocks is of all tokens; published but for the smallest models.
        positions: whether there are any.
        channels: of the image.
        dropout: after the attentions' projections and both Linears of the feed-forwards.
        attn_dropout: on the attention weights.
        emb_dropout: after the positions.
        drop_path: rate at which a sample skips a residual branch among patches, the same at every depth; class blocks are never skipped.
        qkv_bias: whether the projections of queries, keys and values have a bias.
        norm: factory of the norms of tokens.
        activation: factory of the activation in stem, convolutions and feed-forwards.
        image_size: an int or a (height, width) that the model is meant for; nothing depends on it.

    Raises:
        ValueError: another ``patch_size``, or a ``dim`` that does not divide into heads.
    """

    layouts = LAYOUTS
    origins = ORIGINS

    def __init__(
        self,
        *,
        patch_size: int,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int | None = None,
        cls_depth: int = 2,
        layer_scale: float = 1.0,
        norm_patches: bool = True,
        positions: bool = True,
        channels: int = 3,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        image_size: Size | None = None,
    ) -> None:
        check_choice("patch_size", patch_size, (8, 16))
        widths = [dim // 8, dim // 4, dim // 2, dim] if patch_size == 16 else [dim // 4, dim // 2, dim]

        def residual(layer: nn.Module) -> Residual:
            return Residual(dim, layer, norm=norm, layer_scale=layer_scale, drop_path=drop_path)

        def mlp() -> Mlp:
            return Mlp(dim, mlp_dim, activation=activation, dropout=dropout)

        def class_attention() -> ClassAttention:
            attend = SoftmaxAttend(dropout=attn_dropout)
            return ClassAttention(dim, heads, qkv_bias=qkv_bias, attend=attend, dropout=dropout)

        blocks = [
            Chain(
                attn=residual(
                    CrossCovarianceAttention(dim, heads, attn_dropout=attn_dropout, qkv_bias=qkv_bias, dropout=dropout)
                ),
                local=residual(local_patch_interaction(dim, activation)),
                mlp=residual(mlp()),
            )
            for _ in range(depth)
        ]
        class_blocks = [
            NormedClassBlock(
                dim,
                class_attention(),
                mlp(),
                norm_patches=norm_patches,
                norm=norm,
                layer_scale=layer_scale,
            )
            for _ in range(cls_depth)
        ]
        start = [*([FourierPosition(dim)] if positions else []), PerToken(nn.Dropout(emb_dropout))]
        super().__init__(
            embed=ConvStem(widths, channels=channels, activation=activation),
            stages=[Stage([*start, *blocks, ClassToken(dim), *class_blocks])],
            norm=norm(dim),
            pool=ClassPool(),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


# Table 1 of the paper. The smallest models norm the class token alone, and layer scale starts at 1 with 12 blocks.
_WIDTHS = {"nano": (128, 4), "tiny": (192, 4), "small": (384, 8), "medium": (512, 8), "large": (768, 16)}
_DEPTHS = {"nano": (12,), "tiny": (12, 24), "small": (12, 24), "medium": (24,), "large": (24,)}

VARIANTS: Variants = {
    f"xcit_{name}_{depth}_p{patch}_{size}": Variant(
        XCiT,
        {
            "patch_size": patch,
            "dim": dim,
            "depth": depth,
            "heads": heads,
            "layer_scale": 1.0 if depth == 12 else 1e-5,
            "norm_patches": name != "nano",
            "image_size": size,
        },
    )
    for name, (dim, heads) in _WIDTHS.items()
    for depth in _DEPTHS[name]
    for patch in (16, 8)
    for size in (224, 384)
}
