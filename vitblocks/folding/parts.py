"""What is known of the package's parts: which linears read a layer's input, and which one writes its output.

A rule may move numbers from one module into another only where it knows everything that reads them. What is known is listed here by
part; of a part that is not listed nothing is assumed.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from ..attention import (
    ClassAttention,
    ConvProjectionAttention,
    DownsamplingAttention,
    GlobalAttention,
    PaddedRegionalAttention,
    ReAttend,
    ReducedAttention,
    RegionalAttention,
    SoftmaxAttend,
    TalkingHeadsAttend,
    WindowAttention,
)
from ..attention.base import Attention
from ..block import Block, ClassBlock, CompactBlock, ParallelBlock, PostNormBlock, RegionalBlock, RescaledBlock
from ..embed import PatchMerging, TokenTransformer
from ..feedforward import ConvFeedForward, GatedMlp, Mlp
from ..pool import AdaptiveSampling, AttentionPool, SampledBlock
from ..residual import Residual
from .affine import Linear, is_linear

_PASSIVE = {"__init__", "__module__", "__doc__", "extra_repr", "__annotations__", "__parameters__"}

# (part, norm, the layer that alone reads what the norm gives)
NORMED: list[tuple[type[nn.Module], str, str]] = [
    *((block, f"norm{i}", layer) for block in (Block, ParallelBlock, ClassBlock, RescaledBlock, SampledBlock)
      for i, layer in ((1, "attn"), (2, "mlp"))),
    (CompactBlock, "norm1", "attn"),  # its second norm is what the residual starts from
    (RegionalBlock, "norm2", "mlp"),  # its attention is called after two norms
    (Residual, "norm", "layer"),
    (AdaptiveSampling, "norm", "attn"),
    (AttentionPool, "norm", "mlp"),
    (PatchMerging, "norm", "proj"),
    (TokenTransformer, "norm1", "qkv"),
    (TokenTransformer, "norm2", "mlp"),
]  # fmt: skip

# (part, the shortcut, the layer whose output alone goes into it)
SHORTCUTS: list[tuple[type[nn.Module], str, str]] = [
    *((block, f"shortcut{i}", layer) for block in (Block, ParallelBlock, ClassBlock, CompactBlock, PostNormBlock, SampledBlock)
      for i, layer in ((1, "attn"), (2, "mlp"))),
    (RegionalBlock, "shortcut2", "mlp"),
    (Residual, "shortcut", "layer"),
]  # fmt: skip

_READERS: list[tuple[type[nn.Module], tuple[str, ...]]] = [
    (GlobalAttention, ("qkv",)),
    (WindowAttention, ("qkv",)),
    (RegionalAttention, ("qkv",)),
    (PaddedRegionalAttention, ("qkv",)),
    (ClassAttention, ("q", "kv")),
    (Mlp, ("fc1",)),
    (GatedMlp, ("gate", "fc1")),
    (ConvFeedForward, ("conv1",)),
]

_WRITERS: list[tuple[type[nn.Module], str]] = [
    *((kind, "proj") for kind in (GlobalAttention, WindowAttention, RegionalAttention, PaddedRegionalAttention)),
    *((kind, "proj") for kind in (ClassAttention, ReducedAttention, ConvProjectionAttention, DownsamplingAttention)),
    (Mlp, "fc2"),
    (GatedMlp, "fc2"),
    (ConvFeedForward, "conv2"),
]

_HIDING = (SoftmaxAttend, TalkingHeadsAttend, ReAttend)
"""Attends whose output does not depend on keys and values under a bias of -inf."""


def behaves_as(module: nn.Module | None, part: type[nn.Module]) -> bool:
    """Whether a module is a part, or a subclass of it that is merely constructed in another way."""
    if not isinstance(module, part):
        return False
    own = type(module).__mro__[: type(module).__mro__.index(part)]
    return all(name in _PASSIVE for kind in own for name in vars(kind)) and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def child(module: nn.Module, name: str) -> nn.Module:
    return cast(nn.Module, getattr(module, name))


def first_linears(layer: nn.Module) -> list[Linear] | None:
    """The linears that read the layer's input, if nothing else does; None where that is not known."""
    first = _edge(layer, 0)
    if is_linear(first):
        return [cast(Linear, first)]
    names = next((names for part, names in _READERS if behaves_as(layer, part)), None)
    if behaves_as(layer, ReducedAttention) and child(layer, "reduce") is None:
        names = ("q", "kv")
    if names is None or _pads_visibly(layer):
        return None
    if behaves_as(layer, ConvFeedForward) and type(child(layer, "norm1")) is not nn.Identity:
        return None
    linears = [_edge(child(layer, name), 0) for name in names]
    return cast("list[Linear]", linears) if all(is_linear(linear) for linear in linears) else None


def last_linear(layer: nn.Module) -> Linear | None:
    """The linear whose output is the layer's, up to tokens whose output is zero; None where there is none that is known."""
    last = _edge(layer, -1)
    if is_linear(last):
        return cast(Linear, last)
    name = next((name for part, name in _WRITERS if behaves_as(layer, part)), None)
    if name is None or (behaves_as(layer, ConvFeedForward) and type(child(layer, "norm2")) is not nn.Identity):
        return None
    last = _edge(child(layer, name), -1)
    return cast(Linear, last) if is_linear(last) else None


def _edge(module: nn.Module, end: int) -> nn.Module:
    """The first or last module of a Sequential; any other module itself."""
    while type(module) is nn.Sequential:
        inner = [m for m in module if type(m) is not nn.Identity]
        if not inner:
            break
        module = inner[end]
    return module


def _pads_visibly(layer: nn.Module) -> bool:
    """Whether windows may be padded with zeros, after the norm, that the Attend lets tokens see."""
    if not isinstance(layer, Attention) or not isinstance(layer, (WindowAttention, RegionalAttention)):
        return False
    return not any(behaves_as(layer.attend, attend) for attend in _HIDING)
