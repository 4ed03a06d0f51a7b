"""CCT, and with it CVT and ViT-Lite: Escaping the Big Data Paradigm with Compact Transformers (arXiv:2104.05704)."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

from torch import nn
from typing_extensions import Unpack

from ...attention import GlobalAttention, SoftmaxAttend
from ...checks import check_choice
from ...embed import CompactStem, ConvEmbed
from ...feedforward import Mlp
from ...grid import Size
from ...head import linear_head
from ...init import fan_in_conv, trunc_normal_linear
from ...model import Model, Stage
from ...norm import layer_norm
from ...pool import ClassPool, SequencePool
from ...position import LearnedPosition, SinePosition1d
from ...prefix import ClassToken, PerToken
from ...registry import part
from ...residual import drop_path_schedule
from ..sizes import embedded_grid, patch_grid
from .layouts import LAYOUTS
from .origins import ORIGINS
from .parts import CompactBlock

Positions: TypeAlias = Literal["sine", "learnable", "none"]

NORM = layer_norm(1e-5)


class TrainingOptions(TypedDict, total=False):
    """Keywords of :class:`CompactTransformer` that are no sizes of its blocks."""

    mlp_radio: float | None
    num_classes: int
    positional_embedding: Positions
    dropout: float
    attn_dropout: float
    drop_path: float


class BlockOptions(TrainingOptions, total=False):
    """Keywords of :class:`CompactTransformer` that are left to those who give its embedder and width."""

    num_layers: int
    num_heads: int
    mlp_ratio: float | None


class ViTLiteOptions(BlockOptions, total=False):
    """Keywords of :class:`ViTLite`."""

    img_size: Size
    kernel_size: Size
    embedding_dim: int
    channels: int


class TokenizerOptions(TrainingOptions, total=False):
    """Keywords of a :class:`CCT` of a published size, but for those of its convolutions."""

    img_size: Size
    n_conv_layers: int
    pooling_kernel_size: int
    pooling_stride: int
    pooling_padding: int
    channels: int
    class_token: bool


class CCTOptions(TokenizerOptions, total=False):
    """Keywords of a :class:`CCT` of a published size."""

    kernel_size: int
    stride: int | None
    padding: int | None


@part
class CompactTransformer(Model):
    """What CCT, CVT and ViT-Lite share: compact blocks over any tokens, and a small head.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02 with zero biases, learned positions one of 0.2,
    the class token zero, the convolutions of the tokens normal by their fan in. Other image sizes than ``img_size`` work: positions are
    resized.

    Args:
        embed: a finished embedder.
        grid: the grid it gives an image of ``img_size``.
        img_size: an int or a (height, width).
        embedding_dim, num_layers, num_heads: width, blocks, attention heads.
        class_token: whether one is read, in place of a pool over the sequence.
        mlp_ratio: hidden width of the feed-forward over ``embedding_dim``.
        mlp_radio: another spelling of ``mlp_ratio``.
        num_classes: 0 for features.
        positional_embedding: learned, fixed sines along the sequence, or none.
        dropout: after the positions, the attention's projection and both Linears of the feed-forward.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.

    Raises:
        ValueError: ``embedding_dim`` does not divide into heads, ``positional_embedding`` is unknown, or ``mlp_ratio`` and ``mlp_radio``
            differ.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        embed: nn.Module,
        grid: tuple[int, int],
        *,
        img_size: Size,
        embedding_dim: int = 768,
        num_layers: int = 14,
        num_heads: int = 6,
        class_token: bool = False,
        mlp_ratio: float | None = None,
        mlp_radio: float | None = None,
        num_classes: int = 1000,
        positional_embedding: Positions = "learnable",
        dropout: float = 0.0,
        attn_dropout: float = 0.1,
        drop_path: float = 0.1,
    ) -> None:
        mlp_dim = int(embedding_dim * one_ratio(mlp_ratio, mlp_radio))
        blocks = [
            CompactBlock(
                embedding_dim,
                GlobalAttention(
                    embedding_dim,
                    num_heads,
                    qkv_bias=False,
                    attend=SoftmaxAttend(dropout=attn_dropout),
                    dropout=dropout,
                ),
                Mlp(embedding_dim, mlp_dim, dropout=dropout),
                norm=NORM,
                drop_path=rate,
            )
            for rate in drop_path_schedule(drop_path, num_layers)
        ]
        super().__init__(
            embed=embed,
            stages=[
                Stage(
                    [
                        *([zero_class_token(embedding_dim)] if class_token else []),
                        *positions(positional_embedding, embedding_dim, grid, int(class_token)),
                        PerToken(nn.Dropout(dropout)),
                        *blocks,
                    ]
                )
            ],
            norm=NORM(embedding_dim),
            pool=ClassPool() if class_token else SequencePool(embedding_dim),
            head=linear_head(embedding_dim, num_classes),
            image_size=img_size,
        )
        self.apply(trunc_normal_linear)
        self.embed.apply(fan_in_conv)


def one_ratio(mlp_ratio: float | None, mlp_radio: float | None) -> float:
    """The ratio of the feed-forward under either spelling; 4 if neither is given.

    Raises:
        ValueError: both are given and differ.
    """
    if mlp_ratio is not None and mlp_radio is not None and mlp_ratio != mlp_radio:
        raise ValueError(f"mlp_radio is mlp_ratio by another spelling: give one, got {mlp_radio} and {mlp_ratio}")
    given = mlp_radio if mlp_ratio is None else mlp_ratio
    return 4.0 if given is None else given


def positions(kind: Positions, dim: int, grid: tuple[int, int], num_prefix: int) -> list[nn.Module]:
    """The layer that adds positions, or none. Learned ones start ten times as large as elsewhere, as the authors' do."""
    check_choice("positional_embedding", kind, ("sine", "learnable", "none"))
    if kind == "none":
        return []
    if kind == "sine":
        return [SinePosition1d(dim, grid, num_prefix=num_prefix)]
    learned = LearnedPosition(dim, grid, num_prefix=num_prefix)
    nn.init.trunc_normal_(learned.table, std=0.2)
    return [learned]


def zero_class_token(dim: int) -> ClassToken:
    """A class token that starts at zero, as the authors' does."""
    class_token = ClassToken(dim)
    nn.init.zeros_(class_token.token)
    return class_token


@part
class CCT(CompactTransformer):
    """Compact Convolutional Transformer: convolutions and pooling make the tokens, a pool over the sequence replaces the class token.

    Args:
        img_size: an int or a (height, width).
        n_conv_layers: convolutions of the tokenizer, each with ReLU and max-pooling, 64 channels wide in between.
        kernel_size, stride, padding: of the convolutions.
        pooling_kernel_size, pooling_stride, pooling_padding: of the max-pooling.
        channels: of the image.
        embedding_dim, num_layers, num_heads, class_token, mlp_ratio, mlp_radio, num_classes, positional_embedding, dropout,
            attn_dropout, drop_path: see :class:`CompactTransformer`.
    """

    origins = ORIGINS

    def __init__(
        self,
        *,
        img_size: Size = 224,
        embedding_dim: int = 768,
        n_conv_layers: int = 1,
        kernel_size: int = 7,
        stride: int = 2,
        padding: int = 3,
        pooling_kernel_size: int = 3,
        pooling_stride: int = 2,
        pooling_padding: int = 1,
        channels: int = 3,
        class_token: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        stem = CompactStem(
            embedding_dim,
            channels=channels,
            convs=n_conv_layers,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            pool_size=pooling_kernel_size,
            pool_stride=pooling_stride,
            pool_padding=pooling_padding,
        )
        grid = embedded_grid(stem, img_size, channels)
        super().__init__(stem, grid, img_size=img_size, embedding_dim=embedding_dim, class_token=class_token, **options)


@part
class CompactViT(CompactTransformer):
    """Compact Vision Transformer, the paper's CVT: patches, and a pool over the sequence in place of the class token.

    Args:
        img_size: an int or a (height, width).
        kernel_size: the patch, an int or a (height, width).
        channels: of the image.
        embedding_dim, num_layers, num_heads, class_token, mlp_ratio, mlp_radio, num_classes, positional_embedding, dropout,
            attn_dropout, drop_path: see :class:`CompactTransformer`.
    """

    def __init__(
        self,
        *,
        img_size: Size = 224,
        kernel_size: Size = 16,
        embedding_dim: int = 768,
        channels: int = 3,
        class_token: bool = False,
        **options: Unpack[BlockOptions],
    ) -> None:
        embed = ConvEmbed(kernel_size, embedding_dim, channels=channels)
        grid = patch_grid(img_size, kernel_size)
        super().__init__(
            embed, grid, img_size=img_size, embedding_dim=embedding_dim, class_token=class_token, **options
        )


@part
class ViTLite(CompactViT):
    """ViT-Lite: patches and a class token.

    Args:
        img_size, kernel_size, channels: see :class:`CompactViT`.
        embedding_dim, num_layers, num_heads, mlp_ratio, mlp_radio, num_classes, positional_embedding, dropout, attn_dropout, drop_path:
            see :class:`CompactTransformer`.
    """

    def __init__(self, **options: Unpack[ViTLiteOptions]) -> None:
        super().__init__(class_token=True, **options)
