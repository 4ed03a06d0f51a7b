"""Twins: Revisiting the Design of Spatial Attention in Vision Transformers (arXiv:2104.13840): Twins-SVT and Twins-PCPVT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from torch import nn

from ...attention import LocalWindowAttention, ReducedAttention, SoftmaxAttend
from ...attention.windows import Padding
from ...block import Block
from ...embed import ConvDownsample, ConvEmbed
from ...feedforward import Activation, Mlp
from ...grid import Size
from ...head import linear_head
from ...init import fan_out_conv, trunc_normal_linear
from ...model import Model, Stage
from ...norm import LayerNorm, NormFactory, layer_norm
from ...pool import MeanPool
from ...position import PEG
from ...registry import Variant, Variants, part
from ...residual import drop_path_schedule
from .layouts import LAYOUTS
from .origins import ORIGINS, as_timm


@dataclass(frozen=True)
class StageSizes:
    """The sizes of one stage: channels, patches merged on entering it, blocks, hidden channels of the feed-forward."""

    dim: int
    patch_size: int
    depth: int
    mlp_dim: int


def twins_parts(
    sizes: Sequence[StageSizes],
    attentions: Sequence[Sequence[nn.Module]],
    *,
    channels: int,
    num_classes: int,
    peg_kernel_size: int,
    dropout: float,
    drop_path: float,
    norm: NormFactory,
    activation: Activation,
    image_size: Size | None,
) -> dict[str, Any]:
    """What both models of the paper are made of, given the attention of every block of every stage."""
    rates = iter(drop_path_schedule(drop_path, sum(size.depth for size in sizes)))

    def layers(size: StageSizes, attns: Sequence[nn.Module]) -> list[nn.Module]:
        first, *others = (
            Block(
                size.dim,
                attn,
                Mlp(size.dim, size.mlp_dim, activation=activation, dropout=dropout),
                norm=norm,
                drop_path=next(rates),
            )
            for attn in attns
        )
        return [first, PEG(size.dim, peg_kernel_size), *others]

    first, last = sizes[0], sizes[-1]
    stages = [Stage(layers(first, attentions[0]))]
    for (before, size), attns in zip(pairwise(sizes), attentions[1:], strict=True):
        merge = ConvDownsample(before.dim, size.dim, size.patch_size, remainder="drop")
        stages.append(Stage(layers(size, attns), transition=merge))
    return {
        "embed": ConvEmbed(
            first.patch_size, first.dim, channels=channels, norm=layer_norm(1e-5)(first.dim), remainder="drop"
        ),
        "stages": stages,
        "norm": norm(last.dim),
        "pool": MeanPool(),
        "head": linear_head(last.dim, num_classes),
        "image_size": image_size,
    }


@part
class TwinsSVT(Model):
    """Spatially separable attention: blocks of local windows and of global attention to a reduced map in turn, a PEG in every stage.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02, convolutions normal by their fan out, biases
    zero. Every image size works that holds a patch of the last stage, and a reduction in every stage: rows and columns at the bottom
    and right that fill no whole patch are left out, as published.

    Args:
        num_classes: 0 for features.
        s1_emb_dim ... s4_emb_dim: channels of each stage.
        s1_patch_size ...: patches merged on entering the stage.
        s1_local_patch_size ...: window of the local attention.
        s1_global_k ...: reduction of the keys and values of the global attention; 1 for none.
        s1_depth ...: pairs of blocks, one local and one global.
        peg_kernel_size: of the position encoding generator after each stage's first block.
        dropout: after the attention's projection and both Linears of the feed-forward.
        channels: of the image.
        heads: of each stage; one for every 32 channels if None, as in the paper's Table 1.
        mlp_ratios: hidden width of each stage's feed-forward over its channels.
        attn_dropout: on the attention weights.
        drop_path: of the last block, rising linearly from 0.
        qkv_bias: whether the projections of queries, keys and values have a bias.
        depths: blocks of each stage, in place of the pairs: an odd number ends with a local one.
        padding: what becomes of the padding of maps to whole windows. ``"masked"``: nobody attends to it. ``"attended"``: zeros among the
            keys, as in the published code (timm's, and the authors' for detection and segmentation).
        norm: factory of the blocks' norms and the last.
        activation: factory of the feed-forward's activation.
        image_size: an int or a (height, width) that the model is made for, if it is for one.
    """

    layouts = LAYOUTS
    origins = ORIGINS
    as_timm = staticmethod(as_timm)

    def __init__(
        self,
        *,
        num_classes: int,
        s1_emb_dim: int = 64,
        s1_patch_size: int = 4,
        s1_local_patch_size: int = 7,
        s1_global_k: int = 7,
        s1_depth: int = 1,
        s2_emb_dim: int = 128,
        s2_patch_size: int = 2,
        s2_local_patch_size: int = 7,
        s2_global_k: int = 7,
        s2_depth: int = 1,
        s3_emb_dim: int = 256,
        s3_patch_size: int = 2,
        s3_local_patch_size: int = 7,
        s3_global_k: int = 7,
        s3_depth: int = 5,
        s4_emb_dim: int = 512,
        s4_patch_size: int = 2,
        s4_local_patch_size: int = 7,
        s4_global_k: int = 7,
        s4_depth: int = 4,
        peg_kernel_size: int = 3,
        dropout: float = 0.0,
        channels: int = 3,
        heads: Sequence[int] | None = None,
        mlp_ratios: Sequence[float] = (4, 4, 4, 4),
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        depths: Sequence[int] | None = None,
        padding: Padding = "masked",
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        image_size: Size | None = None,
    ) -> None:
        dims = (s1_emb_dim, s2_emb_dim, s3_emb_dim, s4_emb_dim)
        patches = (s1_patch_size, s2_patch_size, s3_patch_size, s4_patch_size)
        windows = (s1_local_patch_size, s2_local_patch_size, s3_local_patch_size, s4_local_patch_size)
        reductions = (s1_global_k, s2_global_k, s3_global_k, s4_global_k)
        depths = [2 * pairs for pairs in (s1_depth, s2_depth, s3_depth, s4_depth)] if depths is None else depths
        heads = [max(dim // 32, 1) for dim in dims] if heads is None else heads

        def attentions(dim: int, count: int, window: int, reduction: int, depth: int) -> list[nn.Module]:
            local = partial(LocalWindowAttention, window=window, padding=padding)
            reduced = partial(ReducedAttention, reduction=reduction)
            options: dict[str, Any] = {"qkv_bias": qkv_bias, "dropout": dropout}
            return [
                kind(dim, count, attend=SoftmaxAttend(dropout=attn_dropout), **options)
                for kind in ((local, reduced)[i % 2] for i in range(depth))
            ]

        super().__init__(
            **twins_parts(
                [
                    StageSizes(dim, patch, depth, int(dim * ratio))
                    for dim, patch, depth, ratio in zip(dims, patches, depths, mlp_ratios, strict=True)
                ],
                [attentions(*row) for row in zip(dims, heads, windows, reductions, depths, strict=True)],
                channels=channels,
                num_classes=num_classes,
                peg_kernel_size=peg_kernel_size,
                dropout=dropout,
                drop_path=drop_path,
                norm=norm,
                activation=activation,
                image_size=image_size,
            )
        )
        self.apply(trunc_normal_linear)
        self.apply(fan_out_conv)


@part
class TwinsPCPVT(Model):
    """PVT with conditional positions (Section 3.1): every block attends globally to a reduced map, a PEG in every stage.

    Initialised as :class:`TwinsSVT`, which says what image sizes work.

    Args:
        num_classes: 0 for features.
        dims, depths, heads: channels, blocks and attention heads of each stage.
        patch_sizes: patches merged on entering each stage.
        reductions: of the keys and values of each stage; 1 for none.
        mlp_ratios: hidden width of each stage's feed-forward over its channels.
        peg_kernel_size, dropout, channels, attn_dropout, drop_path, qkv_bias, norm, activation, image_size: see :class:`TwinsSVT`.
    """

    layouts = LAYOUTS

    def __init__(
        self,
        *,
        num_classes: int,
        dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (3, 4, 6, 3),
        heads: Sequence[int] = (1, 2, 5, 8),
        patch_sizes: Sequence[int] = (4, 2, 2, 2),
        reductions: Sequence[int] = (8, 4, 2, 1),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        peg_kernel_size: int = 3,
        dropout: float = 0.0,
        channels: int = 3,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        qkv_bias: bool = True,
        norm: NormFactory = LayerNorm,
        activation: Activation = nn.GELU,
        image_size: Size | None = None,
    ) -> None:
        def attentions(dim: int, count: int, reduction: int, depth: int) -> list[nn.Module]:
            reduced = partial(ReducedAttention, dim, count, reduction=reduction, qkv_bias=qkv_bias, dropout=dropout)
            return [reduced(attend=SoftmaxAttend(dropout=attn_dropout)) for _ in range(depth)]

        super().__init__(
            **twins_parts(
                [
                    StageSizes(dim, patch, depth, int(dim * ratio))
                    for dim, patch, depth, ratio in zip(dims, patch_sizes, depths, mlp_ratios, strict=True)
                ],
                [attentions(*row) for row in zip(dims, heads, reductions, depths, strict=True)],
                channels=channels,
                num_classes=num_classes,
                peg_kernel_size=peg_kernel_size,
                dropout=dropout,
                drop_path=drop_path,
                norm=norm,
                activation=activation,
                image_size=image_size,
            )
        )
        self.apply(trunc_normal_linear)
        self.apply(fan_out_conv)


def _variant(dims: Sequence[int], depths: Sequence[int], drop_path: float) -> Variant:
    options: dict[str, object] = {"drop_path": drop_path}
    for i, (dim, depth, reduction) in enumerate(zip(dims, depths, (8, 4, 2, 1), strict=True), start=1):
        options |= {f"s{i}_emb_dim": dim, f"s{i}_depth": depth, f"s{i}_global_k": reduction}
    return Variant(TwinsSVT, options)


# Table 1 of the paper, with the reductions and drop path rates of the authors' code.
VARIANTS: Variants = {
    "twins_svt_small": _variant((64, 128, 256, 512), (1, 1, 5, 2), 0.2),
    "twins_svt_base": _variant((96, 192, 384, 768), (1, 1, 9, 1), 0.3),
    "twins_svt_large": _variant((128, 256, 512, 1024), (1, 1, 9, 1), 0.5),
    "twins_pcpvt_small": Variant(TwinsPCPVT, {"depths": (3, 4, 6, 3), "drop_path": 0.2}),
    "twins_pcpvt_base": Variant(TwinsPCPVT, {"depths": (3, 4, 18, 3), "drop_path": 0.3}),
    "twins_pcpvt_large": Variant(TwinsPCPVT, {"depths": (3, 8, 27, 3), "drop_path": 0.5}),
}
