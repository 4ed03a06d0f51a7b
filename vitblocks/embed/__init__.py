"""Patch embedders and downsamplers, and the adaptors that make them from convolutions."""

from .adaptors import Downsample, MapEmbed, OnMap, OnSequence, PatchConv2d, SlidingConv2d
from .conv import ConvEmbed
from .downsample import ConvDownsample, PatchMerging
from .inverted_residual import InvertedResidual
from .linear import LinearEmbed
from .stem import CompactStem, ConvStem, ConvUnit

__all__ = [
    "CompactStem",
    "ConvDownsample",
    "ConvEmbed",
    "ConvStem",
    "ConvUnit",
    "Downsample",
    "InvertedResidual",
    "LinearEmbed",
    "MapEmbed",
    "OnMap",
    "OnSequence",
    "PatchConv2d",
    "PatchMerging",
    "SlidingConv2d",
]
