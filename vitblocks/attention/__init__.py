"""Attention kinds: a geometry that gathers tokens, and an :class:`Attend` that turns q, k, v into values."""

from .attend import Attend, SoftmaxAttend
from .base import Attention, CrossAttention, SelfAttention
from .class_attention import ClassAttention
from .conv_projection import ConvProjectionAttention
from .cosine import CosineAttend
from .cross_covariance import CrossCovarianceAttend, CrossCovarianceAttention
from .global_attention import GlobalAttention
from .kernel import KernelAttend
from .local_window import DilatedWindowAttention, LocalWindowAttention, WindowAttention
from .no_mixing import NoMixing
from .options import (
    AttentionOptions,
    CrossAttentionOptions,
    HeadOptions,
    MixedHeadOptions,
    SelfAttentionOptions,
)
from .qk_norm import QKNorm
from .qv_bias import QVBiasLinear
from .re_attention import ReAttend, ReAttention
from .reduced import ReducedAttention
from .talking_heads import TalkingHeadsAttend, TalkingHeadsAttention
from .windows import DilatedWindows, GridWindows, Partition, ShiftedWindows, Windows

__all__ = [
    "Attend",
    "Attention",
    "AttentionOptions",
    "ClassAttention",
    "ConvProjectionAttention",
    "CosineAttend",
    "CrossAttention",
    "CrossAttentionOptions",
    "CrossCovarianceAttend",
    "CrossCovarianceAttention",
    "DilatedWindowAttention",
    "DilatedWindows",
    "GlobalAttention",
    "GridWindows",
    "HeadOptions",
    "KernelAttend",
    "LocalWindowAttention",
    "MixedHeadOptions",
    "NoMixing",
    "Partition",
    "QKNorm",
    "QVBiasLinear",
    "ReAttend",
    "ReAttention",
    "ReducedAttention",
    "SelfAttention",
    "SelfAttentionOptions",
    "ShiftedWindows",
    "SoftmaxAttend",
    "TalkingHeadsAttend",
    "TalkingHeadsAttention",
    "WindowAttention",
    "Windows",
]
