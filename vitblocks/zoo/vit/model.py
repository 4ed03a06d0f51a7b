"""ViT: An Image is Worth 16x16 Words (arXiv:2010.11929)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

from torch import nn
from typing_extensions import Required

from ...attention import GlobalAttention, SoftmaxAttend
from ...block import Block
from ...embed import ConvEmbed
from ...feedforward import Activation, FeedForward, Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory
from ...pool import ClassPool, MeanPool
from ...position import LearnedPosition, resize_table
from ...position.resize import Resize
from ...prefix import ClassToken, PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from ..sizes import patch_grid, prefix_count
from .configs import CONFIGS
from .hub_origins import DINO_ORIGINS
from .layouts import LAYOUTS
from .origins import ORIGINS


class ViTOptions(TypedDict, total=False):
    """Keywords of :class:`ViT` that its distilled student passes on."""

    image_size: Required[Size]
    patch_size: Required[Size]
    depth: Required[int]
    heads: Required[int]
    mlp_dim: Required[int]
    pool: Literal["cls"]
    channels: int
    dropout: float
    emb_dropout: float
    head_dim: int | None
    attn_dropout: float
    drop_path: float
    qkv_bias: bool
    norm: NormFactory
    embed: nn.Module | None
    activation: Activation
    layer_scale: float | None
    resize: Resize
    prefix_positions: bool
    qk_norm: NormFactory | None


class BranchOptions(TypedDict, total=False):
    """Keywords of :func:`vit_blocks` that models of such blocks pass on."""

    head_dim: int | None
    dropout: float
    attn_dropout: float
    feedforward: FeedForward
    qk_norm: NormFactory | None


class BlockOptions(BranchOptions, total=False):
    """Those, where the attention is ViT's."""

    qkv_bias: bool


@part
class ViT(Model):
    """Vision Transformer: patches, a class token, learned positions, pre-norm blocks of global attention.

    Initialised as timm and DeiT do: Linears a truncated normal of standard deviation 0.02 with zero biases, class token and positions
    alike. Other image sizes than ``image_size`` work: positions are resized.

    Args:
        image_size, patch_size: an int or a (height, width).
        num_classes: 0 for features.
        dim, depth, heads, mlp_dim: width, blocks, attention heads, hidden width of the feed-forward.
        pool: ``"cls"`` reads the class token after the norm; ``"mean"`` has no class token and norms the mean of the patches.
        channels: of the image.
        dropout: after the attention's projection and both Linears of the feed-forward (the paper's Appendix B.1).
        emb_dropout: after the positions.
        head_dim: channels of a head; ``dim / heads`` if None.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        norm: factory of the norms.
        embed: a finished embedder in place of the patch convolution.
        prefix_tokens: learned tokens before the patches, each with a position; the class token is the first, the others are registers.
            1 with ``pool="cls"`` and 0 with ``"mean"`` if None.
        activation: factory of the feed-forward's activation.
        layer_scale: starting value of a learned scale for each channel of every residual branch (CaiT, arXiv:2103.17239, eq. 4); None
            for none, as in the paper.
        resize: how positions are resized for another image: :func:`~vitblocks.position.resize_table` as DeiT and transformers do, or
            :func:`~vitblocks.position.resize_table_as_timm`, or :func:`~vitblocks.position.resize_table_as_dino`.
        qk_norm: factory of norms of queries and keys, of each head by itself; None for none, as in the paper.

    Raises:
        ValueError: ``image_size`` does not divide into patches, ``dim`` not into heads, or ``pool`` is unknown or has no token to read.
    """

    layouts = LAYOUTS
    origins = ORIGINS | DINO_ORIGINS
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
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        head_dim: int | None = None,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        embed: nn.Module | None = None,
        prefix_tokens: int | None = None,
        activation: Activation = nn.GELU,
        layer_scale: float | None = None,
        resize: Resize = resize_table,
        prefix_positions: bool = True,
        qk_norm: NormFactory | None = None,
    ) -> None:
        prefix = prefix_count(pool, prefix_tokens)
        has_class = pool == "cls"
        grid, placed = patch_grid(image_size, patch_size), prefix if prefix_positions else 0
        blocks = vit_blocks(
            dim,
            heads,
            mlp_dim,
            drop_path_schedule(drop_path, depth),
            head_dim=head_dim,
            qkv_bias=qkv_bias,
            dropout=dropout,
            attn_dropout=attn_dropout,
            norm=norm,
            activation=activation,
            layer_scale=layer_scale,
            qk_norm=qk_norm,
        )
        super().__init__(
            embed=ConvEmbed(patch_size, dim, channels=channels) if embed is None else embed,
            stages=[
                Stage(
                    [
                        *([ClassToken(dim, prefix)] if prefix else []),
                        LearnedPosition(dim, grid, num_prefix=placed, resize=resize),
                        PerToken(nn.Dropout(emb_dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=norm(dim) if has_class else None,
            pool=ClassPool() if has_class else MeanPool(norm(dim)),
            head=linear_head(dim, num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def vit_blocks(
    dim: int,
    heads: int,
    mlp_dim: int,
    drop_paths: Sequence[float],
    *,
    head_dim: int | None = None,
    qkv_bias: bool = True,
    dropout: float = 0.0,
    attn_dropout: float = 0.0,
    norm: NormFactory = LayerNorm,
    feedforward: FeedForward = Mlp,
    activation: Activation = nn.GELU,
    layer_scale: float | None = None,
    attn_scale: float | None = None,
    qk_norm: NormFactory | None = None,
    attention: Callable[..., nn.Module] = GlobalAttention,
    block: Callable[..., nn.Module] = Block,
) -> list[nn.Module]:
    """ViT's blocks, one for each drop path rate: pre-norm, global softmax attention, feed-forward.

    ``attn_scale`` is the factor of the logits, ``head_dim ** -0.5`` if None. ``feedforward`` makes the second branch of each block, called
    as :class:`~vitblocks.Mlp` is, ``attention`` the first, called as :class:`~vitblocks.GlobalAttention`, and ``block`` puts them together.
    Other arguments: see :class:`ViT`.
    """
    normed = {} if qk_norm is None else {"qk_norm": qk_norm}
    return [
        block(
            dim,
            attention(
                dim,
                heads,
                head_dim=head_dim,
                qkv_bias=qkv_bias,
                attend=SoftmaxAttend(scale=attn_scale, dropout=attn_dropout),
                dropout=dropout,
                **normed,
            ),
            feedforward(dim, mlp_dim, activation=activation, dropout=dropout),
            norm=norm,
            layer_scale=layer_scale,
            drop_path=rate,
        )
        for rate in drop_paths
    ]


def _sizes(dim: int, depth: int, heads: int) -> dict[str, int]:
    return {"dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim}


_WIDTHS = {
    "tiny": _sizes(192, 12, 3),
    "small": _sizes(384, 12, 6),
    "base": _sizes(768, 12, 12),
    "large": _sizes(1024, 24, 16),
    "huge": _sizes(1280, 32, 16),
}
_PUBLISHED = {
    "tiny": [(16, 224), (16, 384)],
    "small": [(16, 224), (16, 384), (32, 224), (32, 384), (14, 224), (8, 224)],
    "base": [(16, 224), (16, 384), (32, 224), (32, 384), (8, 224)],
    "large": [(16, 224), (16, 384), (32, 224), (32, 384), (14, 224)],
    "huge": [(14, 224)],
}

# Base, large and huge are Table 1 of the paper; tiny and small are DeiT's widths (arXiv:2012.12877, Table 1).
VARIANTS: Variants = {
    f"vit_{width}_patch{patch}_{size}": Variant(ViT, {"image_size": size, "patch_size": patch, **_WIDTHS[width]})
    for width, sizes in _PUBLISHED.items()
    for patch, size in sizes
}
