"""Patch embedders and downsamplers, and the adaptors that make them from convolutions."""

from .adaptors import Downsample, MapEmbed, OnMap, OnSequence, PatchConv2d, SlidingConv2d
from .conv import ConvEmbed
from .cross_scale import CrossScaleConv
from .downsample import BlockAggregation, ConvDownsample, PatchMerging, PoolingDownsample, SameMaxPool2d
from .inverted_residual import InvertedResidual
from .linear import LinearEmbed
from .regional import DownsampleBothMaps, OnBothMaps, RegionalEmbed
from .rescale import Rescale
from .stem import CompactStem, ConvStem, ConvUnit, PatchStem, ThreeConvStem
from .token_transformer import TokenTransformer, token_performer
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
    "DownsampleBothMaps",
    "InvertedResidual",
    "LinearEmbed",
    "MapEmbed",
    "OnBothMaps",
    "OnMap",
    "OnSequence",
    "PatchConv2d",
    "PatchMerging",
    "PatchStem",
    "PoolingDownsample",
    "RegionalEmbed",
    "Rescale",
    "SameMaxPool2d",
    "SlidingConv2d",
    "ThreeConvStem",
    "TokenTransformer",
    "Unfold",
    "UnfoldEmbed",
    "token_performer",
]
