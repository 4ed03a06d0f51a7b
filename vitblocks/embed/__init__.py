"""Patch embedders and downsamplers, and the adaptors that make them from convolutions."""

from .adaptors import Downsample, MapEmbed, OnMap, PatchConv2d
from .conv import ConvEmbed
from .cross_scale import CrossScaleConv
from .downsample import BlockAggregation, ConvDownsample, PatchMerging, PoolingDownsample
from .linear import LinearEmbed
from .stem import CompactStem, ConvStem, ConvUnit, PatchStem
from .unfold import Unfold, UnfoldEmbed

__all__ = [
    "BlockAggregation",
    "CompactStem",
    "ConvDownsample",
    "ConvEmbed",
    "ConvStem",
    "ConvUnit",
    "CrossScaleConv",
    "Downsample",
    "LinearEmbed",
    "MapEmbed",
    "OnMap",
    "PatchConv2d",
    "PatchMerging",
    "PatchStem",
    "PoolingDownsample",
    "Unfold",
    "UnfoldEmbed",
]
