"""Attention kinds: a geometry that gathers tokens, and an :class:`Attend` that turns q, k, v into values."""

from .attend import Attend, SoftmaxAttend
from .base import (
    Attention,
    AttentionOptions,
    CrossAttention,
    CrossAttentionOptions,
    HeadOptions,
    MixedHeadOptions,
    SelfAttention,
    SelfAttentionOptions,
)
from .carried_padding import CarriedPadding, CarryPadding, DropPadding, PaddedRegionalAttention
from .class_attention import ClassAttention
from .conv_projection import ConvProjectionAttention
from .downsampling import DownsamplingAttention
from .global_attention import GlobalAttention
from .interleaved import Interleaved, ResizeToMultiple
from .kernel import KernelAttend
from .local_window import DilatedWindowAttention, LocalWindowAttention, WindowAttention
from .re_attention import ReAttend, ReAttention
from .reduced import ReducedAttention
from .regional import RegionalAttention
from .smoothed import SmoothedSoftmaxAttend
from .talking_heads import TalkingHeadsAttend, TalkingHeadsAttention
from .windows import DilatedWindows, LongDistanceWindows, Partition, ShiftedWindows, Windows

__all__ = [
    "Attend",
    "Attention",
    "AttentionOptions",
    "CarriedPadding",
    "CarryPadding",
    "ClassAttention",
    "ConvProjectionAttention",
    "CrossAttention",
    "CrossAttentionOptions",
    "DilatedWindowAttention",
    "DilatedWindows",
    "DownsamplingAttention",
    "DropPadding",
    "GlobalAttention",
    "HeadOptions",
    "Interleaved",
    "KernelAttend",
    "LocalWindowAttention",
    "LongDistanceWindows",
    "MixedHeadOptions",
    "PaddedRegionalAttention",
    "Partition",
    "ReAttend",
    "ReAttention",
    "ReducedAttention",
    "RegionalAttention",
    "ResizeToMultiple",
    "SelfAttention",
    "SelfAttentionOptions",
    "ShiftedWindows",
    "SmoothedSoftmaxAttend",
    "SoftmaxAttend",
    "TalkingHeadsAttend",
    "TalkingHeadsAttention",
    "WindowAttention",
    "Windows",
]
