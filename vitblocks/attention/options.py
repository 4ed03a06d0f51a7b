"""Keywords that attention kinds pass on to what they are built of."""

from __future__ import annotations

from typing import TypedDict

from torch import nn

from ..norm import NormFactory
from .attend import Attend


class HeadOptions(TypedDict, total=False):
    """Keywords of every attention kind; what they mean stands at :class:`Attention`."""

    head_dim: int | None
    position_bias: nn.Module | None
    dropout: float


class AttentionOptions(HeadOptions, total=False):
    """Keywords of :class:`Attention`."""

    value_dim: int | None
    proj: nn.Module | None
    attend: Attend | None


class CrossAttentionOptions(HeadOptions, total=False):
    """Keywords of :class:`CrossAttention`."""

    qkv_bias: bool
    attend: Attend | None


class MixedHeadOptions(HeadOptions, total=False):
    """Keywords of :class:`SelfAttention` for kinds that bring an :class:`Attend` of their own."""

    value_dim: int | None
    qkv: nn.Module | None
    qkv_bias: bool
    qk_norm: NormFactory | None
    rotary: nn.Module | None
    proj: nn.Module | None


class SelfAttentionOptions(MixedHeadOptions, total=False):
    """Keywords of :class:`SelfAttention`."""

    attend: Attend | None
