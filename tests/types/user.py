"""What somebody writes who uses vitblocks with a type checker: every line is right, for mypy and pyright, and runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import vitblocks
from vitblocks import (
    CCT,
    AttentionPool,
    AttentionRecords,
    Block,
    ClassAttention,
    ConvDownsample,
    ConvEmbed,
    ConvProjectionAttention,
    DilatedWindowAttention,
    DistillableViT,
    FeatureMap,
    Folded,
    GlobalAttention,
    LocalWindowAttention,
    MeanPool,
    Mlp,
    Model,
    ReAttention,
    ReducedAttention,
    RelativeBias,
    Residual,
    SoftmaxAttend,
    Stage,
    SwapReport,
    TalkingHeadsAttention,
    ViT,
    WindowAttention,
    Windows,
    fold,
    record_attention,
    swap_attention,
)
from vitblocks.grid import Grid
from vitblocks.norm import NormFactory
from vitblocks.zoo.cct import cct_2


class NeighbourMean(nn.Module):
    """A layer of one's own."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix, patches = vitblocks.grid.split_prefix(x, grid)
        image = vitblocks.grid.to_map(patches, grid)
        mean, _ = vitblocks.grid.to_tokens(nn.functional.avg_pool2d(image, 3, 1, 1))
        return torch.cat([prefix, mean], dim=1)


def attentions(dim: int, heads: int) -> list[nn.Module]:
    """Every kind takes the options of its base."""
    bias = RelativeBias(heads, 4)
    return [
        GlobalAttention(dim, heads, head_dim=8, qkv_bias=False, attend=SoftmaxAttend(dropout=0.1), dropout=0.1),
        LocalWindowAttention(dim, heads, window=4, shift=(2, 2), position_bias=bias, value_dim=8),
        DilatedWindowAttention(dim, heads, window=None, dilation=2, rotary=None),
        WindowAttention(dim, heads, windows=Windows(4), proj=nn.Linear(dim, dim)),
        ReducedAttention(dim, heads, reduction=(2, 2), head_dim=None, qkv_bias=True),
        TalkingHeadsAttention(dim, heads, attn_dropout=0.1, init_std=None, head_dim=8),
        ReAttention(dim, heads, weight_scale=0.5, qkv_bias=False),
        ConvProjectionAttention(dim, heads, kernel_size=3, kv_stride=2, attend=SoftmaxAttend()),
        ClassAttention(dim, heads, qkv_bias=False),
        AttentionPool(dim, heads, mlp=Mlp(dim), head_dim=8),
    ]


def pyramid(dim: int, norm: NormFactory = vitblocks.LayerNorm) -> Model:
    """A model of parts."""
    fine = [Block(dim, LocalWindowAttention(dim, 2, window=4), Mlp(dim), norm=norm), Residual(dim, NeighbourMean())]
    coarse = [Block(2 * dim, GlobalAttention(2 * dim, 4), Mlp(2 * dim), norm=vitblocks.RMSNorm, layer_scale=1e-5)]
    return Model(
        ConvEmbed(4, dim),
        [Stage(fine), Stage(coarse, transition=ConvDownsample(dim, 2 * dim))],
        norm=norm(2 * dim),
        pool=MeanPool(),
        head=vitblocks.linear_head(2 * dim, 10),
        image_size=32,
    )


@vitblocks.part
class Mine(nn.Module):
    """A part of one's own stays the class it is."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim


def main() -> None:
    image = torch.zeros(1, 3, 32, 32)
    attentions(16, 2)
    model = assert_type(pyramid(16), Model)
    assert_type(model.encode(image), tuple[Tensor, tuple[int, ...]])
    assert_type(model.feature_maps(image), list[FeatureMap])
    assert_type(model.feature_maps(image)[0].map, Tensor)
    assert_type(model.forward(image), Tensor)
    assert_type(model.blocks(), Iterator[tuple[str, nn.Module]])
    assert_type(fold(model), Folded)
    with record_attention(model) as records:
        model(image)
    assert_type(records, AttentionRecords)
    assert_type(records[0].weights, Tensor)
    assert_type(swap_attention(model, LocalWindowAttention, window=2), SwapReport)

    small = cct_2(img_size=32, kernel_size=3, num_classes=10, positional_embedding="sine", attn_dropout=0.0)
    assert_type(small, CCT)
    student = DistillableViT(image_size=32, patch_size=16, num_classes=10, dim=16, depth=1, heads=2, mlp_dim=32)
    assert_type(student.to_vit(), ViT)
    assert_type(vitblocks.list_models("vit_*"), list[str])
    theirs = vitblocks.checkpoint.export(small, "official")
    assert_type(vitblocks.checkpoint.load(small, theirs, layout="official"), vitblocks.checkpoint.Report)
    assert_type(vitblocks.zoo.ViT, type[ViT])
    assert_type(Mine, type[Mine])
    assert_type(Mine(dim=3).dim, int)
    assert_type(vitblocks.build(vitblocks.describe(Mine(3))), nn.Module)
    assert_type(vitblocks.attention.SoftmaxAttend(scale=1.0), SoftmaxAttend)


if __name__ == "__main__":
    main()
