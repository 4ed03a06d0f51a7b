"""The attention kinds whose cost is measured, each as a layer with the tokens it takes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitblocks.attention import (
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    ReAttention,
    ReducedAttention,
    TalkingHeadsAttention,
    Windows,
)
from vitblocks.grid import Grid
from vitblocks.position import RelativeBias
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend
from vitblocks.zoo.levit import DownsamplingAttention
from vitblocks.zoo.mobile_vit import Interleaved
from vitblocks.zoo.regionvit import CarriedPadding, PaddedRegionalAttention, RegionalAttention

DIM, HEADS = 96, 3


def no_prefix(grid: Grid) -> int:
    return 0


def regions(grid: Grid) -> int:
    """A regional token for every window of 8."""
    return prod(Windows(8).counts(grid))


def regions_and_padding(grid: Grid) -> int:
    """The same for windows of 7, and the tokens that fill the last ones."""
    padding = CarriedPadding(7)
    return prod(padding.padded(grid)) // 49 + padding.count(grid)


class Kind(NamedTuple):
    """A layer of ``DIM`` channels and ``HEADS`` heads.

    Attributes:
        make: the layer, with fresh weights.
        family: which kinds should cost alike: ``matrix``, ``fused``, ``fewer keys``, ``windows`` or ``linear``.
        prefix: how many prefix tokens it takes on a grid.
    """

    make: Callable[[], nn.Module]
    family: str
    prefix: Callable[[Grid], int] = no_prefix

    def tokens(self, grid: Grid) -> Tensor:
        """Tokens of one image: ``(1, prefix + H*W, DIM)``."""
        return torch.randn(1, self.prefix(grid) + prod(grid), DIM)


KINDS: dict[str, Kind] = {
    "talking heads": Kind(lambda: TalkingHeadsAttention(DIM, HEADS), "matrix"),
    "re-attention": Kind(lambda: ReAttention(DIM, HEADS), "matrix"),
    "smoothed softmax": Kind(lambda: GlobalAttention(DIM, HEADS, attend=SmoothedSoftmaxAttend()), "matrix"),
    "global": Kind(lambda: GlobalAttention(DIM, HEADS), "fused"),
    "interleaved by 2": Kind(lambda: Interleaved([GlobalAttention(DIM, HEADS)], 2), "fewer keys"),
    "conv projection, stride 2": Kind(lambda: ConvProjectionAttention(DIM, HEADS), "fewer keys"),
    "downsampling by 2": Kind(lambda: DownsamplingAttention(DIM, DIM, HEADS), "fewer keys"),
    "reduced by 8": Kind(lambda: ReducedAttention(DIM, HEADS, reduction=8), "fewer keys"),
    "windows of 8": Kind(lambda: LocalWindowAttention(DIM, HEADS, window=8), "windows"),
    "shifted windows of 8": Kind(lambda: LocalWindowAttention(DIM, HEADS, window=8, shift=4), "windows"),
    "shifted windows, biased": Kind(
        lambda: LocalWindowAttention(DIM, HEADS, window=8, shift=4, position_bias=RelativeBias(HEADS, 8)), "windows"
    ),
    "dilated windows of 8": Kind(lambda: DilatedWindowAttention(DIM, HEADS, window=8, dilation=2), "windows"),
    "regional, windows of 8": Kind(lambda: RegionalAttention(DIM, HEADS, window=8), "windows", regions),
    "regional, padding carried": Kind(
        lambda: PaddedRegionalAttention(DIM, HEADS, window=7), "windows", regions_and_padding
    ),
    "kernel features": Kind(lambda: GlobalAttention(DIM, HEADS, attend=KernelAttend(DIM // HEADS)), "linear"),
    "class attention": Kind(lambda: ClassAttention(DIM, HEADS), "linear", lambda grid: 1),
}
