"""Twins-SVT: Revisiting the Design of Spatial Attention in Vision Transformers (arXiv:2104.13840)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from ..attention import LocalWindowAttention, ReducedAttention, SoftmaxAttend
from ..block import Block
from ..embed import ConvDownsample, ConvEmbed
from ..feedforward import Mlp
from ..head import linear_head
from ..init import fan_out_conv, trunc_normal_linear
from ..model import Model, Stage
from ..norm import LayerNorm, layer_norm
from ..pool import MeanPool
from ..position import PEG
from ..registry import Variant, Variants
from ..residual import drop_path_schedule


@dataclass(frozen=True)
class StageSizes:
    """The sizes of one stage: channels, stride, window, reduction of the global attention, pairs of blocks, heads, feed-forward ratio."""

    dim: int
    patch_size: int
    window: int
    reduction: int
    depth: int
    heads: int
    mlp_ratio: float


class TwinsSVT(Model):
    """Spatially separable attention: blocks of local windows and of global attention to a reduced map in turn, a PEG in every stage.

    Initialised as the authors do: Linears a truncated normal of standard deviation 0.02, convolutions normal by their fan out, biases
    zero. Every image size works whose sides the patch sizes divide; windows are padded, and padding is not attended to.

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
    """

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
    ) -> None:
        dims = (s1_emb_dim, s2_emb_dim, s3_emb_dim, s4_emb_dim)
        sizes = [
            StageSizes(*row)
            for row in zip(
                dims,
                (s1_patch_size, s2_patch_size, s3_patch_size, s4_patch_size),
                (s1_local_patch_size, s2_local_patch_size, s3_local_patch_size, s4_local_patch_size),
                (s1_global_k, s2_global_k, s3_global_k, s4_global_k),
                (s1_depth, s2_depth, s3_depth, s4_depth),
                [max(dim // 32, 1) for dim in dims] if heads is None else heads,
                mlp_ratios,
                strict=True,
            )
        ]
        rates = iter(drop_path_schedule(drop_path, 2 * sum(size.depth for size in sizes)))
        first = sizes[0]
        super().__init__(
            embed=ConvEmbed(first.patch_size, first.dim, channels=channels, norm=layer_norm(1e-5)(first.dim)),
            stages=[
                Stage(
                    twins_layers(size, rates, peg_kernel_size, dropout, attn_dropout),
                    transition=None if before is None else ConvDownsample(before.dim, size.dim, size.patch_size),
                )
                for before, size in zip([None, *sizes[:-1]], sizes, strict=True)
            ],
            norm=LayerNorm(sizes[-1].dim),
            pool=MeanPool(),
            head=linear_head(sizes[-1].dim, num_classes),
        )
        self.apply(trunc_normal_linear)
        self.apply(fan_out_conv)


def twins_layers(
    size: StageSizes, rates: Iterator[float], peg_kernel_size: int, dropout: float, attn_dropout: float
) -> list[nn.Module]:
    """The layers of a stage: local and global blocks in turn, the PEG after the first."""
    layers: list[nn.Module] = []
    for i in range(2 * size.depth):
        attend = SoftmaxAttend(dropout=attn_dropout)
        attn = (
            LocalWindowAttention(size.dim, size.heads, window=size.window, attend=attend, dropout=dropout)
            if i % 2 == 0
            else ReducedAttention(size.dim, size.heads, reduction=size.reduction, attend=attend, dropout=dropout)
        )
        mlp = Mlp(size.dim, int(size.dim * size.mlp_ratio), dropout=dropout)
        layers.append(Block(size.dim, attn, mlp, drop_path=next(rates)))
        if i == 0:
            layers.append(PEG(size.dim, peg_kernel_size))
    return layers


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
}
