"""RegionViT: Regional-to-Local Attention for Vision Transformers (arXiv:2106.02689)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from ...attention import SoftmaxAttend
from ...embed import ConvUnit, Downsample, MapEmbed
from ...feedforward import Mlp
from ...grid import Size, num_prefix
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, MapNorm, layer_norm
from ...pool import PrefixMeanPool
from ...position import PEG, RelativeBias
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from .carried_padding import CarriedPadding, CarryPadding, DropPadding, PaddedRegionalAttention
from .layouts import LAYOUTS
from .parts import DownsampleBothMaps, OnBothMaps, RegionalAttention, RegionalBlock, RegionalEmbed


@part
class RegionViT(Model):
    """A regional token for each window: regional tokens attend to one another, then every window to itself and its regional token.

    Initialised as the authors do: Linears and bias tables a truncated normal of standard deviation 0.02, biases zero, convolutions as
    PyTorch does. Every image size works but one: with one convolution as the tokenizer, a side of a pixel more than whole regions is
    refused, because that pixel would get a region without patches. Windows are padded, and padding is not attended to.

    Where windows do not fit the map, the authors' code lets the last window see some of its padding, and carries the padding from block
    to block. Of the published models this meets those with windows of 14, whose last map at 224 pixels is 7 x 7: they have
    ``carry_padding=True`` and compute what the authors' code does. Drop path skips whole images; the authors' code draws for each window.

    Args:
        dim, depth: channels and blocks of each stage; the channels grow by whole factors.
        window_size: patches along a side of a region: 7, or 14 in the models that the paper marks with a plus.
        num_classes: 0 for features.
        tokenize_local_3_conv: patches from three convolutions, as in the tiny and small models, rather than from one.
        use_peg: a position encoding generator on both maps after the first block of each stage.
        channels: of the image.
        image_size: what the model is for, an int or a (height, width), if it is for one size: no weight depends on it.
        heads: of each stage; one for every 32 channels if None, as in the paper.
        mlp_ratio: hidden width of the feed-forward over the channels; a number, or one for each stage.
        dropout: after the attention's projection and both Linears of the feed-forward.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.
        carry_padding: treat padding as the authors' code does, with its mistake.
        tokenizer: a finished embedder of the patches, ``image -> (x, grid)`` with a ``stride``, in place of these convolutions.
        stem_dim: channels of the embedded patches and regions; where they are not those of the first stage, a norm, an activation and a
            convolution of each channel come between.
        window_sizes: of each stage, where they differ; the first is ``window_size``. There must still be one window for each regional
            token.

    Raises:
        ValueError: not as many sizes as stages, or channels that are no multiple of those of the stage before.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        dim: Sequence[int] = (64, 128, 256, 512),
        depth: Sequence[int] = (2, 2, 8, 2),
        window_size: Size = 7,
        num_classes: int = 1000,
        tokenize_local_3_conv: bool = False,
        use_peg: bool = False,
        channels: int = 3,
        heads: Sequence[int] | None = None,
        mlp_ratio: float | Sequence[float] = 4.0,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        carry_padding: bool = False,
        tokenizer: nn.Module | None = None,
        stem_dim: int | None = None,
        window_sizes: Sequence[Size] | None = None,
        image_size: Size | None = None,
    ) -> None:
        windows = [window_size] * len(dim) if window_sizes is None else window_sizes
        ratios = [mlp_ratio] * len(dim) if isinstance(mlp_ratio, (int, float)) else mlp_ratio
        stem = dim[0] if stem_dim is None else stem_dim
        heads = [max(width // 32, 1) for width in dim] if heads is None else heads
        attention = PaddedRegionalAttention if carry_padding else RegionalAttention
        rates = iter(drop_path_schedule(drop_path, sum(depth)))

        def blocks(width: int, count: int, heads: int, window: Size, ratio: float) -> list[nn.Module]:
            return [
                RegionalBlock(
                    width,
                    attention(
                        width,
                        heads,
                        window=window,
                        qkv_bias=qkv_bias,
                        attend=SoftmaxAttend(dropout=attn_dropout),
                        position_bias=RelativeBias(heads, window),
                        dropout=dropout,
                    ),
                    Mlp(width, int(width * ratio), dropout=dropout),
                    regions=CarriedPadding(window) if carry_padding else num_prefix,
                    drop_path=next(rates),
                )
                for _ in range(count)
            ]

        def padded(layers: list[nn.Module], window: Size) -> list[nn.Module]:
            return [CarryPadding(window), *layers, DropPadding(window)] if carry_padding else layers

        def stage(width: int, count: int, heads: int, window: Size, ratio: float) -> list[nn.Module]:
            layers = blocks(width, count, heads, window, ratio)
            if not use_peg:
                return padded(layers, window)
            peg = OnBothMaps(PEG(width, bias=False), window)
            return [*padded(layers[:1], window), peg, *padded(layers[1:], window)]

        def both_maps(module: nn.Module, window: Size) -> nn.Module:
            return DownsampleBothMaps(Downsample(module), window)

        stages = [stage(*sizes) for sizes in zip(dim, depth, heads, windows, ratios, strict=True)]
        coarser = [
            both_maps(downsampling(before, after), window)
            for (before, after), window in zip(pairwise(dim), windows[:-1], strict=True)
        ]
        first = None if stem == dim[0] else both_maps(downsampling(stem, dim[0], stride=1), window_size)
        local = three_convs(channels, stem) if tokenize_local_3_conv else nn.Conv2d(channels, stem, 8, 4, 3)
        super().__init__(
            embed=RegionalEmbed(
                MapEmbed(local) if tokenizer is None else tokenizer, stem, window=window_size, channels=channels
            ),
            stages=[Stage(layers, transition) for layers, transition in zip(stages, [first, *coarser], strict=True)],
            norm=LayerNorm(dim[-1]),
            pool=PrefixMeanPool(),
            head=linear_head(dim[-1], num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def map_norm(channels: int) -> nn.Module:
    """The norm among convolutions, with another epsilon than that of the blocks."""
    return MapNorm(layer_norm(1e-5)(channels))


def three_convs(channels: int, dim: int) -> nn.Module:
    """The tokenizer of the tiny and small models: two convolutions that halve the image, one that does not."""
    return nn.Sequential(
        ConvUnit(channels, dim // 4, stride=2, norm=map_norm, activation=nn.GELU),
        ConvUnit(dim // 4, dim // 2, stride=2, norm=map_norm, activation=nn.GELU),
        ConvUnit(dim // 2, dim),
    )


def downsampling(dim: int, out_dim: int, stride: int = 2) -> nn.Module:
    """Between stages: every channel becomes several by a convolution of its own, of 3x3 where it halves the map, else of 1x1.

    Raises:
        ValueError: ``dim`` does not divide ``out_dim``.
    """
    if out_dim % dim:
        raise ValueError(f"dim must grow by whole factors from stage to stage, got {dim}, {out_dim}")
    conv = nn.Conv2d(dim, out_dim, 2 * stride - 1, stride, stride // 2, groups=dim)
    return nn.Sequential(map_norm(dim), nn.GELU(), conv)


def _variant(dim: int, depth: int, window: int = 7, use_peg: bool = False) -> Variant:
    return Variant(
        RegionViT,
        {
            "dim": [dim * 2**i for i in range(4)],
            "depth": (2, 2, depth, 2),
            "window_size": window,
            "tokenize_local_3_conv": depth == 8,
            "use_peg": use_peg,
            "carry_padding": window == 14,
            "drop_path": 0.1,
        },
    )


# The sizes and the drop path of the authors' code; the models with windows of 14 are the detectors' backbones.
VARIANTS: Variants = {
    "regionvit_tiny_224": _variant(64, 8),
    "regionvit_small_224": _variant(96, 8),
    "regionvit_medium_224": _variant(96, 14),
    "regionvit_base_224": _variant(128, 14),
    "regionvit_small_w14_224": _variant(96, 8, window=14),
    "regionvit_small_w14_peg_224": _variant(96, 8, window=14, use_peg=True),
    "regionvit_base_w14_224": _variant(128, 14, window=14),
    "regionvit_base_w14_peg_224": _variant(128, 14, window=14, use_peg=True),
}
