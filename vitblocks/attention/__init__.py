"""Attention kinds: a geometry that gathers tokens, and an :class:`Attend` that turns q, k, v into values."""

from .attend import Attend, SoftmaxAttend
from .base import Attention, CrossAttention, FusedAttention
from .class_attention import ClassAttention
from .conv_projection import ConvProjectionAttention
from .downsampling import DownsamplingAttention
from .global_attention import GlobalAttention
from .interleaved import Interleaved
from .kernel import KernelAttend
from .local_window import DilatedWindowAttention, LocalWindowAttention, WindowAttention
from .re_attention import ReAttend, ReAttention
from .reduced import ReducedAttention
from .regional import RegionalAttention
from .smoothed import SmoothedSoftmaxAttend
from .talking_heads import TalkingHeadsAttend, TalkingHeadsAttention
from .windows import DilatedWindows, Partition, ShiftedWindows, Windows

__all__ = [
    "Attend",
    "Attention",
    "ClassAttention",
    "ConvProjectionAttention",
    "CrossAttention",
    "DilatedWindowAttention",
    "DilatedWindows",
    "DownsamplingAttention",
    "FusedAttention",
    "GlobalAttention",
    "Interleaved",
    "KernelAttend",
    "LocalWindowAttention",
    "Partition",
    "ReAttend",
    "ReAttention",
    "ReducedAttention",
    "RegionalAttention",
    "ShiftedWindows",
    "SmoothedSoftmaxAttend",
    "SoftmaxAttend",
    "TalkingHeadsAttend",
    "TalkingHeadsAttention",
    "WindowAttention",
    "Windows",
]
