"""Every kind of layer, Attend and transition under the contract: nothing but calls of the public checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from torch import nn

import vitblocks
from vitblocks.attention import (
    Attend,
    ClassAttention,
    ConvProjectionAttention,
    CosineAttend,
    CrossCovarianceAttention,
    DilatedWindowAttention,
    DilatedWindows,
    GlobalAttention,
    GridWindows,
    KernelAttend,
    LocalWindowAttention,
    QVBiasLinear,
    ReAttend,
    ReAttention,
    ReducedAttention,
    ShiftedWindows,
    SoftmaxAttend,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
    WindowAttention,
    Windows,
)
from vitblocks.block import Block, Chain, ClassBlock, ParallelBlock, PostNormBlock, ResidualPostNormBlock
from vitblocks.convert import NoMixing
from vitblocks.embed import ConvDownsample, Downsample, InvertedResidual, OnMap, PatchMerging
from vitblocks.feedforward import ConvFeedForward, EfficientChannelAttention, GatedMlp, Mlp, SqueezeExcite
from vitblocks.grid import Grid, Size
from vitblocks.norm import BatchNorm, LayerNorm, LinearNorm, MapNorm, RMSNorm
from vitblocks.objectives.simmim import CopiedBias
from vitblocks.position import (
    PEG,
    ClassRelativeBias,
    DecomposedBias,
    DistanceBias,
    DynamicBias,
    FourierPosition,
    LearnedPosition,
    LogSpacedBias,
    RelativeBias,
    Rotary2d,
    SinePosition1d,
    SinePosition2d,
    TiledPosition,
)
from vitblocks.prefix import ClassToken, MaskToken, PerToken, RegisterToken
from vitblocks.residual import Residual
from vitblocks.testing import check_attend, check_layer, check_transition
from vitblocks.zoo.ats_vit import SampledBlock, SmoothedSoftmaxAttend
from vitblocks.zoo.cct import CompactBlock
from vitblocks.zoo.crossformer import CrossScaleConv, LongDistanceWindows
from vitblocks.zoo.deepvit import RescaledBlock
from vitblocks.zoo.hiera import DoublingBlock, ExpandingBlock, QueryPoolingAttention
from vitblocks.zoo.levit import DownsamplingAttention
from vitblocks.zoo.maxvit import ConvNeXtBlock, MBConv
from vitblocks.zoo.mobile_vit import ConvFusion, Interleaved, ResizeToMultiple
from vitblocks.zoo.nest import BlockAggregation
from vitblocks.zoo.pit import PoolingDownsample
from vitblocks.zoo.regionvit import OnBothMaps, PaddedRegionalAttention, RegionalAttention, RegionalBlock
from vitblocks.zoo.swin import JointlyShiftedWindows, RolledWindows
from vitblocks.zoo.swin_v2 import AlwaysShiftedWindows
from vitblocks.zoo.t2t import Unfold
from vitblocks.zoo.xcit import NormedClassBlock

DIM, HEADS, HEAD_DIM = 16, 2, 8

ATTENDS: dict[str, Callable[[], Attend]] = {
    "softmax": SoftmaxAttend,
    "talking heads": partial(TalkingHeadsAttend, HEADS, init_std=0.3),
    "re-attention": partial(ReAttend, HEADS),
    "cosine": partial(CosineAttend, HEADS),
    "smoothed": SmoothedSoftmaxAttend,
    "kernel": partial(KernelAttend, HEAD_DIM, features=12),
}
BIASED = [name for name in ATTENDS if name != "kernel"]

# Each geometry with the arguments of its check. Kernel attention refuses masks: it gets grids that the windows divide.
WHOLE: tuple[Grid, ...] = ((4, 6), (2, 9), (6, 3))


def one_per_window(grid: Grid, window: tuple[int, int] = (2, 3)) -> list[int]:
    """How many regional tokens a grid needs."""
    rows, columns = (min(size, side) for size, side in zip(window, grid, strict=True))
    return [-(-grid[0] // rows) * -(-grid[1] // columns)]


def not_one_per_window(grid: Grid) -> list[int]:
    (count,) = one_per_window(grid)
    return [0, count - 1, count + 1] if count > 1 else [0, 2]


def carried(grid: Grid, window: tuple[int, int] = (2, 3)) -> int:
    """How many regional tokens and tokens of padding a grid needs."""
    rows, columns = (-(-side // size) for size, side in zip(window, grid, strict=True))
    return rows * columns * (1 + window[0] * window[1]) - grid[0] * grid[1]


GEOMETRIES: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "global": (partial(GlobalAttention, DIM, HEADS), {}),
    "global, wider values": (partial(GlobalAttention, DIM, HEADS, value_dim=11), {}),
    "windows": (partial(WindowAttention, DIM, HEADS, windows=Windows((2, 3))), {}),
    "shifted windows": (partial(WindowAttention, DIM, HEADS, windows=ShiftedWindows((2, 3))), {}),
    "windows that attend to padding": (
        partial(WindowAttention, DIM, HEADS, windows=Windows((2, 3), padding="attended")),
        {"prefix": (0,), "refuses": (1, 5)},
    ),
    "jointly shifted windows": (
        partial(WindowAttention, DIM, HEADS, windows=JointlyShiftedWindows((2, 3), padding="attended")),
        {"prefix": (0,), "refuses": (1, 5)},
    ),
    "always shifted windows": (
        partial(WindowAttention, DIM, HEADS, windows=AlwaysShiftedWindows((2, 3), padding="attended")),
        {"prefix": (0,), "refuses": (1, 5)},
    ),
    "grid windows": (partial(WindowAttention, DIM, HEADS, windows=GridWindows((2, 3))), {}),
    "rolled windows": (
        partial(WindowAttention, DIM, HEADS, windows=RolledWindows((2, 3))),
        {"prefix": (0,), "refuses": (1, 5)},
    ),
    "dilated windows": (partial(WindowAttention, DIM, HEADS, windows=DilatedWindows((2, 2), (2, 3))), {}),
    "sub-grids": (partial(WindowAttention, DIM, HEADS, windows=DilatedWindows(None, (2, 1))), {}),
    "long distance windows": (partial(WindowAttention, DIM, HEADS, windows=LongDistanceWindows((2, 3), 2)), {}),
    "regional": (
        partial(RegionalAttention, DIM, HEADS, window=(2, 3)),
        {"prefix": one_per_window, "refuses": not_one_per_window},
    ),
    "regional, carried padding": (
        partial(PaddedRegionalAttention, DIM, HEADS, window=(2, 3)),
        {"prefix": lambda grid: [carried(grid)], "refuses": lambda grid: [0, carried(grid) + 1]},
    ),
    "reduced": (partial(ReducedAttention, DIM, HEADS, reduction=(2, 3)), {}),
    "unreduced": (partial(ReducedAttention, DIM, HEADS, reduction=1), {}),
    "class": (partial(ClassAttention, DIM, HEADS), {"prefix": (1, 5), "refuses": (0,)}),
    "convolutional projection": (partial(ConvProjectionAttention, DIM, HEADS), {}),
}

SHIFTED = ("shifted windows", "always shifted windows", "jointly shifted windows", "rolled windows")
"""They have a mask on every grid."""

# Grids on which another geometry has no mask.
UNMASKED: dict[str, Sequence[Grid]] = {
    "grid windows": WHOLE,
    "windows": WHOLE,
    "dilated windows": ((4, 6), (8, 6)),
    "sub-grids": ((4, 6), (2, 9)),
    "long distance windows": ((4, 6), (8, 6)),
    "regional": WHOLE,
    "regional, carried padding": WHOLE,
}


@pytest.mark.parametrize("attend", BIASED)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_attend_in_every_geometry(geometry: str, attend: str) -> None:
    make, options = GEOMETRIES[geometry]
    check_layer(lambda: make(attend=ATTENDS[attend]()), DIM, **options)


@pytest.mark.parametrize("geometry", [name for name in GEOMETRIES if name not in SHIFTED])
def test_kernel_attention_in_every_geometry_without_masks(geometry: str) -> None:
    make, options = GEOMETRIES[geometry]
    grids = UNMASKED.get(geometry, ((4, 6), (7, 5), (3, 3)))
    check_layer(lambda: make(attend=ATTENDS["kernel"]()), DIM, grids=grids, **options)


@pytest.mark.parametrize("geometry", ["windows", "shifted windows", "dilated windows", "sub-grids"])
def test_kernel_attention_refuses_masks(geometry: str) -> None:
    make, _ = GEOMETRIES[geometry]
    with pytest.raises(ValueError, match="KernelAttend forms no logits"):
        check_layer(
            lambda: make(attend=ATTENDS["kernel"]()), DIM, grids=[(3, 6)], prefix=[0]
        )  # 3 rows are padded to 4.


def decomposed(grid: Size) -> DecomposedBias:
    """With other tables than the zeros that it starts with."""
    bias = DecomposedBias(HEAD_DIM, grid)
    for table in bias.parameters():
        nn.init.normal_(table)
    return bias


POSITIONED: dict[str, Callable[[], nn.Module]] = {
    "global, relative bias": lambda: GlobalAttention(DIM, HEADS, position_bias=RelativeBias(HEADS, (4, 5))),
    "global, relative bias with prefix": lambda: GlobalAttention(
        DIM, HEADS, position_bias=CopiedBias(ClassRelativeBias(HEADS, (4, 5)))
    ),
    "global, distance bias": lambda: GlobalAttention(DIM, HEADS, position_bias=DistanceBias(HEADS, (4, 5))),
    "global, dynamic bias": lambda: GlobalAttention(DIM, HEADS, position_bias=DynamicBias(HEADS, 6)),
    "global, log-spaced bias": lambda: GlobalAttention(DIM, HEADS, position_bias=LogSpacedBias(HEADS, 6)),
    "global, decomposed bias": lambda: GlobalAttention(DIM, HEADS, position_bias=decomposed((4, 5))),
    "shifted windows, decomposed bias": lambda: LocalWindowAttention(
        DIM, HEADS, window=(2, 3), shift=1, position_bias=decomposed((2, 3))
    ),
    "windows, log-spaced bias": lambda: LocalWindowAttention(
        DIM, HEADS, window=(2, 3), shift=1, position_bias=LogSpacedBias(HEADS, 6, span=None, limit=None)
    ),
    "global, normed": lambda: GlobalAttention(DIM, HEADS, qk_norm=LayerNorm),
    "global, mixed rotary": lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(HEAD_DIM, mixed_heads=HEADS)),
    "global, rotary": lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(HEAD_DIM)),
    "global, rotary of halves": lambda: GlobalAttention(
        DIM, HEADS, rotary=Rotary2d(HEAD_DIM, pairs="halves", coordinates="centre")
    ),
    "global, rotary on a grid": lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(HEAD_DIM, grid=(3, 4))),
    "windows, relative bias": lambda: LocalWindowAttention(
        DIM, HEADS, window=(2, 3), shift=1, position_bias=RelativeBias(HEADS, (2, 3))
    ),
    "windows, rotary": lambda: LocalWindowAttention(DIM, HEADS, window=3, shift=1, rotary=Rotary2d(HEAD_DIM)),
    "dilated, dynamic bias": lambda: DilatedWindowAttention(
        DIM, HEADS, window=2, dilation=2, position_bias=DynamicBias(HEADS, 6)
    ),
    "dilated, rotary": lambda: DilatedWindowAttention(DIM, HEADS, window=2, dilation=2, rotary=Rotary2d(HEAD_DIM)),
    "convolutional projection, relative bias": lambda: ConvProjectionAttention(
        DIM, HEADS, kv_stride=1, position_bias=RelativeBias(HEADS, (4, 5))
    ),
    "talking heads": lambda: TalkingHeadsAttention(DIM, HEADS),
    "re-attention": lambda: ReAttention(DIM, HEADS),
    "no bias of keys": lambda: GlobalAttention(
        DIM, HEADS, qkv=QVBiasLinear(DIM, (16, 16, 22)), value_dim=11, attend=CosineAttend(HEADS)
    ),
    "normed projections": lambda: GlobalAttention(
        DIM, HEADS, qkv=LinearNorm(DIM, 3 * DIM), proj=nn.Sequential(nn.Hardswish(), LinearNorm(DIM, DIM))
    ),
}


@pytest.mark.parametrize("name", POSITIONED)
def test_attention_with_positions(name: str) -> None:
    check_layer(POSITIONED[name], DIM)


def attention() -> nn.Module:
    return LocalWindowAttention(DIM, HEADS, window=2, shift=1)


LAYERS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "mlp": (lambda: Mlp(DIM, 24), {}),
    "mlp of normed Linears": (lambda: Mlp(DIM, 24, linear=LinearNorm), {}),
    "gated mlp": (lambda: GatedMlp(DIM), {}),
    "gated mlp, normed": (lambda: GatedMlp(DIM, norm=LayerNorm), {}),
    "conv feed-forward": (lambda: ConvFeedForward(DIM, 24), {}),
    "conv feed-forward, SE": (lambda: ConvFeedForward(DIM, 24, channel_attention=SqueezeExcite(24)), {}),
    "conv feed-forward, ECA": (lambda: ConvFeedForward(DIM, 24, channel_attention=EfficientChannelAttention()), {}),
    "peg": (lambda: PEG(DIM), {}),
    "learned position": (lambda: LearnedPosition(DIM, (4, 6)), {}),
    "learned position of prefix": (
        lambda: LearnedPosition(DIM, (4, 6), num_prefix=5),
        {"prefix": (5,), "refuses": (0, 1)},
    ),
    "1-D sine": (lambda: SinePosition1d(DIM, (4, 6)), {}),
    "1-D sine of prefix": (lambda: SinePosition1d(DIM, (4, 6), num_prefix=1), {"prefix": (1,), "refuses": (0, 5)}),
    "2-D sine": (lambda: SinePosition2d(DIM, (4, 6)), {}),
    "2-D sine of prefix": (lambda: SinePosition2d(DIM, (4, 6), num_prefix=1), {"prefix": (1,), "refuses": (0, 5)}),
    "residual": (lambda: Residual(DIM, PEG(DIM), layer_scale=0.1, drop_path=0.3), {}),
    "block": (lambda: Block(DIM, attention(), Mlp(DIM), layer_scale=0.1, drop_path=0.3), {}),
    "post-norm block": (lambda: PostNormBlock(DIM, attention(), Mlp(DIM), norm=RMSNorm), {}),
    "residual post-norm block": (
        lambda: ResidualPostNormBlock(DIM, attention(), Mlp(DIM), layer_scale=0.1, drop_path=0.3),
        {},
    ),
    "parallel block": (lambda: ParallelBlock(DIM, attention(), ConvFeedForward(DIM), norm=BatchNorm), {}),
    "compact block": (lambda: CompactBlock(DIM, attention(), Mlp(DIM), layer_scale=0.1), {}),
    "regional block": (
        lambda: RegionalBlock(DIM, RegionalAttention(DIM, HEADS, window=(2, 3)), Mlp(DIM), layer_scale=0.1),
        {"prefix": one_per_window, "refuses": not_one_per_window},
    ),
    "on both maps": (
        lambda: OnBothMaps(PEG(DIM), window=(2, 3)),
        {"prefix": one_per_window, "refuses": not_one_per_window},
    ),
    "rescaled block": (lambda: RescaledBlock(DIM, attention(), ConvFeedForward(DIM), scale=0.5), {}),
    "chain": (lambda: Chain(attn=Residual(DIM, attention()), peg=PEG(DIM)), {}),
    "conv fusion": (
        lambda: ConvFusion(DIM, 8, GlobalAttention(8, HEADS), out_dim=12),
        {"prefix": (0,), "refuses": (1, 5), "out_dim": 12},
    ),
    "class block": (
        lambda: ClassBlock(DIM, ClassAttention(DIM, HEADS), Mlp(DIM), layer_scale=0.1),
        {"prefix": (1, 5), "refuses": (0,)},
    ),
    "sampled block": (lambda: SampledBlock(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM)), {}),
    "on map": (lambda: OnMap(nn.Sequential(nn.Conv2d(DIM, DIM, 3, padding=1), MapNorm(LayerNorm(DIM)))), {}),
    "on map, other channels": (
        lambda: OnMap(nn.Conv2d(DIM, 10, 1)),
        {"prefix": (0,), "refuses": (1, 5), "out_dim": 10},
    ),
    "per token": (lambda: PerToken(nn.LayerNorm(DIM)), {}),
    "per token, other channels": (lambda: PerToken(nn.Linear(DIM, 10)), {"out_dim": 10}),
    "interleaved": (
        lambda: Interleaved([Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM)), PEG(DIM)], (2, 3)),
        {"grids": ((4, 6), (2, 9), (6, 3)), "prefix": (0,), "refuses": (1, 5)},
    ),
    "interleaved at any size": (
        lambda: ResizeToMultiple(Interleaved([GlobalAttention(DIM, HEADS)], (2, 3)), (2, 3)),
        {"prefix": (0,), "refuses": (1, 5)},
    ),
    "cross-covariance": (lambda: CrossCovarianceAttention(DIM, HEADS), {}),
    "tiled position": (lambda: TiledPosition(DIM, (2, 3)), {}),
    "Fourier position": (lambda: FourierPosition(DIM), {}),
    "normed class block": (
        lambda: NormedClassBlock(DIM, ClassAttention(DIM, HEADS), Mlp(DIM), layer_scale=0.5, drop_path=0.3),
        {"prefix": (1, 5)},
    ),
    "mobile convolution": (lambda: OnMap(MBConv(DIM, DIM, 32, 4, drop_path=0.3)), {}),
    "ConvNeXt": (lambda: OnMap(ConvNeXtBlock(DIM, DIM, layer_scale=0.5, drop_path=0.3)), {}),
    "inverted residual": (lambda: OnMap(InvertedResidual(DIM, DIM)), {}),
    "class token": (lambda: ClassToken(DIM, 2), {"adds": 2}),
    "registers": (lambda: RegisterToken(DIM, 3), {"adds": 3}),
    "mask token": (lambda: MaskToken(DIM), {}),
    "no mixing": (lambda: NoMixing(DIM), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    make, options = LAYERS[name]
    check_layer(make, DIM, **options)


ALONE: dict[str, Callable[[], nn.Module]] = {
    "global": lambda: GlobalAttention(DIM, HEADS, position_bias=RelativeBias(HEADS, 3)),
    "windows": lambda: LocalWindowAttention(DIM, HEADS, window=2),
    "shifted windows": lambda: LocalWindowAttention(DIM, HEADS, window=2, shift=1),
    "dilated windows": lambda: DilatedWindowAttention(DIM, HEADS, window=2, dilation=2),
    "regional": lambda: RegionalAttention(DIM, HEADS, window=2),
    "regional, carried padding": lambda: PaddedRegionalAttention(DIM, HEADS, window=2),
    "class": lambda: ClassAttention(DIM, HEADS),
    "unreduced": lambda: ReducedAttention(DIM, HEADS, reduction=1),
    "mlp": lambda: Mlp(DIM),
}


@pytest.mark.parametrize("name", ALONE)
def test_prefix_tokens_alone(name: str) -> None:
    """On the grid (0, 0) there are prefix tokens and nothing else."""
    check_layer(ALONE[name], DIM, grids=[(0, 0)], prefix=(1, 5))


DROPPED: dict[str, Callable[[], nn.Module]] = {
    "global": lambda: GlobalAttention(DIM, HEADS),
    "unreduced": lambda: ReducedAttention(DIM, HEADS, reduction=1),
    "class": lambda: ClassAttention(DIM, HEADS),
    "block": lambda: Block(DIM, TalkingHeadsAttention(DIM, HEADS), GatedMlp(DIM)),
}


@pytest.mark.parametrize("name", DROPPED)
def test_after_tokens_were_dropped(name: str) -> None:
    check_layer(DROPPED[name], DIM, grids=[(7,), (4,)], prefix=(1, 5))


GEOMETRIC = {
    "peg": lambda: PEG(DIM),
    "conv feed-forward": lambda: ConvFeedForward(DIM),
    "convolutional projection": lambda: ConvProjectionAttention(DIM, HEADS),
    "windows": lambda: LocalWindowAttention(DIM, HEADS, window=2),
    "shifted windows": lambda: LocalWindowAttention(DIM, HEADS, window=2, shift=1),
    "dilated windows": lambda: DilatedWindowAttention(DIM, HEADS, window=2, dilation=2),
    "regional": lambda: RegionalAttention(DIM, HEADS, window=2),
    "reduced": lambda: ReducedAttention(DIM, HEADS, reduction=2),
    "interleaved": lambda: Interleaved([Mlp(DIM)]),
    "on map": lambda: OnMap(nn.Conv2d(DIM, DIM, 1)),
    "relative bias": lambda: GlobalAttention(DIM, HEADS, position_bias=RelativeBias(HEADS, 3)),
    "decomposed bias": lambda: GlobalAttention(DIM, HEADS, position_bias=DecomposedBias(HEAD_DIM, 3)),
    "tiled position": lambda: TiledPosition(DIM, 3),
    "distance bias": lambda: GlobalAttention(DIM, HEADS, position_bias=DistanceBias(HEADS, 3)),
    "log-spaced bias": lambda: GlobalAttention(DIM, HEADS, position_bias=LogSpacedBias(HEADS, 8)),
    "dynamic bias": lambda: GlobalAttention(DIM, HEADS, position_bias=DynamicBias(HEADS, 8)),
    "rotary": lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(HEAD_DIM)),
    "learned position": lambda: LearnedPosition(DIM, 3),
    "1-D sine": lambda: SinePosition1d(DIM, 3),
    "2-D sine": lambda: SinePosition2d(DIM, 3),
}


@pytest.mark.parametrize("name", GEOMETRIC)
def test_what_needs_the_image_refuses_dropped_tokens(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(9,\)"):
        check_layer(GEOMETRIC[name], DIM, grids=[(9,)], prefix=[0])


TRANSITIONS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "convolution": (lambda: ConvDownsample(DIM, 24), {"refuses": (1, 5), "out_dim": 24}),
    "overlapping convolution, prefix": (
        lambda: ConvDownsample(DIM, 24, 3, stride=2, padding=1, prefix=nn.Linear(DIM, 24)),
        {"grids": ((4, 6), (7, 5), (3, 3)), "prefix": (1, 5), "out_dim": 24},
    ),
    "pooling": (
        lambda: PoolingDownsample(DIM, 32),
        {"grids": ((4, 6), (7, 5), (3, 3)), "prefix": (1, 5), "out_dim": 32},
    ),
    "block aggregation": (
        lambda: BlockAggregation(DIM, 24),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "merging": (lambda: PatchMerging(DIM), {"refuses": (1, 5), "out_dim": 32}),
    "merging, normed last": (
        lambda: PatchMerging(DIM, norm=nn.Identity, out_norm=LayerNorm),
        {"refuses": (1, 5), "out_dim": 32},
    ),
    "merging of rectangles": (lambda: PatchMerging(DIM, 20, patch_size=(2, 1)), {"refuses": (1,), "out_dim": 20}),
    "unfold": (lambda: Unfold(3, 2), {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 9 * DIM}),
    "cross-scale": (
        lambda: Downsample(CrossScaleConv(DIM, 24, (2, 4), stride=2)),
        {"refuses": (1, 5), "out_dim": 24},
    ),
    "mobile convolution": (
        lambda: Downsample(MBConv(DIM, 24, 32, 4, stride=2, padding="same")),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "inverted residual": (
        lambda: Downsample(InvertedResidual(DIM, 24, stride=2)),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "attention": (
        lambda: DownsamplingAttention(DIM, 24, HEADS, value_dim=12),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "attention of pooled queries": (
        lambda: QueryPoolingAttention(DIM, 24, HEADS),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "attention of pooled queries in windows": (
        lambda: QueryPoolingAttention(DIM, 24, HEADS, window=(4, 2), stride=(2, 1), attend=TalkingHeadsAttend(HEADS)),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "expanding block": (
        lambda: ExpandingBlock(
            QueryPoolingAttention(DIM, 24, HEADS, window=4), Mlp(24), layer_scale=0.5, drop_path=0.3
        ),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
    "doubling block": (
        lambda: DoublingBlock(QueryPoolingAttention(DIM, 2 * DIM, HEADS), Mlp(2 * DIM), layer_scale=0.5, drop_path=0.3),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 2 * DIM},
    ),
    "attention with positions": (
        lambda: DownsamplingAttention(DIM, 24, HEADS, position_bias=DistanceBias(HEADS, (4, 6), stride=2)),
        {"grids": ((4, 6), (7, 5), (3, 3)), "refuses": (1, 5), "out_dim": 24},
    ),
}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_transitions(name: str) -> None:
    make, options = TRANSITIONS[name]
    check_transition(make, DIM, **options)


@pytest.mark.parametrize("name", BIASED)
def test_attends(name: str) -> None:
    # The smoothed softmax leaves eps / m to hidden keys, as published.
    check_attend(ATTENDS[name], HEADS, HEAD_DIM, leak=1e-4 if name == "smoothed" else 0.0)


def test_kernel_attend() -> None:
    check_attend(ATTENDS["kernel"], HEADS, HEAD_DIM, takes_bias=False)


def test_every_kind_is_checked() -> None:
    """A kind that is added to the package must be added here."""
    made: set[str] = set()
    makers = [make for make, _ in [*GEOMETRIES.values(), *LAYERS.values(), *TRANSITIONS.values()]]
    for make in [*makers, *POSITIONED.values(), *ALONE.values(), *ATTENDS.values()]:
        made |= {type(module).__name__ for module in make().modules()}
    papers = [
        import_module(f"{folder.__name__}.{found.name}")
        for folder in (vitblocks.zoo, vitblocks.objectives)
        for found in iter_modules(folder.__path__)
        if found.ispkg
    ]
    public = {name for module in (vitblocks, *papers) for name in module.__all__}
    kinds = {name for name in public if name.endswith(("Attention", "Attend", "Position", "Bias"))}
    kinds |= {name for name in public if name.endswith(("Block", "Mlp", "FeedForward"))}
    # A MultiScaleBlock has two grids: tests/zoo/test_cross_vit_parts.py checks it.
    assert kinds - made == {"Attend", "MultiScaleBlock"}
