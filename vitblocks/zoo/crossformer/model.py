"""CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention (arXiv:2108.00154), and CrossFormer++ (arXiv:2303.06908)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ...attention import SoftmaxAttend, WindowAttention, Windows
from ...block import Block
from ...embed import Downsample, MapEmbed, OnMap
from ...feedforward import Mlp
from ...grid import Size
from ...head import linear_head
from ...init import trunc_normal_linear
from ...model import Model, Stage
from ...norm import MapNorm, layer_norm
from ...pool import MeanPool
from ...position import DynamicBias
from ...prefix import PerToken
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from .layouts import LAYOUTS
from .parts import CrossScaleConv, LongDistanceWindows

NORM = layer_norm(1e-5)


@dataclass(frozen=True)
class StageSizes:
    """The sizes of one stage: channels, blocks, heads, group and interval of the attention, feed-forward ratio."""

    dim: int
    depth: int
    heads: int
    group: int
    interval: int
    mlp_ratio: float


@part
class CrossFormer(Model):
    """Cross-scale embeddings; blocks of short and long distance attention in turn, with dynamic position bias.

    The long distance groups follow the paper: ``local_window_size`` tokens along each side, ``global_window_size`` apart.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02 with zero biases, convolutions as PyTorch does.
    Every image size works that holds a stride of the last stage: rows and columns at the bottom and right that fill no whole stride of
    the smallest kernel are left out, as by any strided convolution (the authors' code for detection refuses odd maps). Groups are padded,
    and padding is not attended to, as there.

    Args:
        num_classes: 0 for features.
        dim, depth: channels and blocks of each stage.
        global_window_size: interval between the tokens of a long distance group, for each stage.
        local_window_size: tokens along a side of a group, short and long distance; one number, or one for each stage.
        cross_embed_kernel_sizes, cross_embed_strides: of the convolutions that enter each stage.
        channels: of the image.
        image_size: what the model is for, an int or a (height, width), if it is for one size: no weight depends on it.
        heads: of each stage; one for every 32 channels if None, as in the paper.
        mlp_ratios: hidden width of each stage's feed-forward over its channels.
        amplitude_cooling: CrossFormer++'s layers after every third block of a stage but its last, a depthwise convolution and a norm
            in place of the tokens.
        dropout: after the attention's projection and both Linears of the feed-forward.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the qkv projection has a bias.

    Raises:
        ValueError: not as many sizes as stages.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        dim: Sequence[int] = (64, 128, 256, 512),
        depth: Sequence[int] = (2, 2, 8, 2),
        global_window_size: Sequence[int] = (8, 4, 2, 1),
        local_window_size: int | Sequence[int] = 7,
        cross_embed_kernel_sizes: Sequence[Sequence[int]] = ((4, 8, 16, 32), (2, 4), (2, 4), (2, 4)),
        cross_embed_strides: Sequence[int] = (4, 2, 2, 2),
        channels: int = 3,
        heads: Sequence[int] | None = None,
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        amplitude_cooling: bool = False,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        image_size: Size | None = None,
    ) -> None:
        groups = [local_window_size] * len(dim) if isinstance(local_window_size, int) else local_window_size
        heads = [max(width // 32, 1) for width in dim] if heads is None else heads
        sizes = [
            StageSizes(*row) for row in zip(dim, depth, heads, groups, global_window_size, mlp_ratios, strict=True)
        ]
        scales = [
            CrossScaleConv(before, after, kernels, stride=stride)
            for before, after, kernels, stride in zip(
                [channels, *dim[:-1]], dim, cross_embed_kernel_sizes, cross_embed_strides, strict=True
            )
        ]
        rates = iter(drop_path_schedule(drop_path, sum(depth)))
        stages = [crossformer_layers(size, rates, amplitude_cooling, dropout, attn_dropout, qkv_bias) for size in sizes]
        merges = [
            Downsample(nn.Sequential(MapNorm(NORM(before)), scale))
            for before, scale in zip(dim[:-1], scales[1:], strict=True)
        ]
        super().__init__(
            embed=MapEmbed(scales[0], NORM(dim[0])),
            stages=[Stage(layers, transition) for layers, transition in zip(stages, [None, *merges], strict=True)],
            norm=NORM(dim[-1]),
            pool=MeanPool(),
            head=linear_head(dim[-1], num_classes),
            image_size=image_size,
        )
        self.apply(trunc_normal_linear)


def crossformer_layers(
    size: StageSizes, rates: Iterator[float], cooling: bool, dropout: float, attn_dropout: float, qkv_bias: bool
) -> list[nn.Module]:
    """The layers of a stage: short and long distance blocks in turn, with cooling layers among them where wanted."""
    layers: list[nn.Module] = []
    for i in range(size.depth):
        attn = WindowAttention(
            size.dim,
            size.heads,
            windows=Windows(size.group) if i % 2 == 0 else LongDistanceWindows(size.group, size.interval),
            qkv_bias=qkv_bias,
            attend=SoftmaxAttend(dropout=attn_dropout),
            position_bias=DynamicBias(size.heads, max(size.dim // 4 // 4, 1), norm=NORM),
            dropout=dropout,
        )
        mlp = Mlp(size.dim, int(size.dim * size.mlp_ratio), dropout=dropout)
        layers.append(Block(size.dim, attn, mlp, norm=NORM, drop_path=next(rates)))
        if cooling and i % 3 == 2 and i < size.depth - 1:
            layers += [OnMap(nn.Conv2d(size.dim, size.dim, 3, padding=1, groups=size.dim)), PerToken(NORM(size.dim))]
    return layers


def _variant(dim: int, depth: Sequence[int], drop_path: float) -> Variant:
    return Variant(CrossFormer, {"dim": [dim * 2**i for i in range(4)], "depth": depth, "drop_path": drop_path})


def _plus_plus(dim: int, depth: Sequence[int], drop_path: float) -> Variant:
    groups = {"local_window_size": (4, 4, 14, 7), "global_window_size": (4, 2, 1, 1), "amplitude_cooling": True}
    return Variant(CrossFormer, {**_variant(dim, depth, drop_path).options, **groups})


# The sizes and the drop path rates of the authors' code, which are those of the papers' tables.
VARIANTS: Variants = {
    "crossformer_tiny": _variant(64, (1, 1, 8, 6), 0.1),
    "crossformer_small": _variant(96, (2, 2, 6, 2), 0.2),
    "crossformer_base": _variant(96, (2, 2, 18, 2), 0.3),
    "crossformer_large": _variant(128, (2, 2, 18, 2), 0.5),
    "crossformer_pp_small": _plus_plus(64, (2, 2, 18, 2), 0.2),
    "crossformer_pp_base": _plus_plus(96, (2, 2, 18, 2), 0.3),
    "crossformer_pp_large": _plus_plus(128, (2, 2, 18, 2), 0.5),
    "crossformer_pp_huge": _plus_plus(128, (6, 6, 18, 2), 0.5),
}
