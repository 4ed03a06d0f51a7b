"""What a layer may become: an attention of another kind, with fewer heads, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import (
    Attention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    NoMixing,
    ReducedAttention,
    SelfAttention,
    TalkingHeadsAttention,
    WindowAttention,
)
from ..attention.base import ONE
from ..folding.projections import taken_apart
from ..grid import Size
from ..surgery.attention import ATTENTION
from ..surgery.select import members, place_orders
from ..surgery.swap import carry_out, finish

KEPT = "kept"
"""The name of what a layer is."""

Options: TypeAlias = Mapping[str, Any] | Callable[[Attention], Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """What a layer may become.

    Attributes:
        name: of the kind, for reports and plans.
        to: a class of attention, or a function ``old -> new`` that gives a finished layer with its weights.
        options: arguments for the class, or a function that makes them of the old attention.
        sees_all: whether a token can see every other one, so that it may learn to give what global attention gave.
    """

    name: str
    to: type[Attention] | Callable[[Attention], nn.Module]
    options: Options = field(default_factory=dict)
    sees_all: bool = True

    def put(self, model: nn.Module, layer: str, sample: Tensor | None = None) -> None:
        """Put such a layer in place of an attention of a model, with the weights that both have. Errors: see :func:`~vitblocks.swap`."""
        old: Any = model.get_submodule(layer)
        if isinstance(self.to, type):
            options = dict(self.options(old) if callable(self.options) else self.options)
            orders = place_orders(model, "attention", self.to, lambda name, _: name == layer, options)
            carry_out(model, orders, sample, count_macs=False)
            return
        new = self.to(old)
        finish(new, old, model)
        parent, _, child = layer.rpartition(".")
        setattr(model.get_submodule(parent), child, new)


def windows(size: Size = 7) -> Kind:
    """Attention within windows side by side."""
    return Kind(f"windows of {size}", LocalWindowAttention, {"window": size}, sees_all=False)


def dilated(dilation: Size = 2) -> Kind:
    """Attention among tokens that lie ``dilation`` apart, over the whole map."""
    return Kind(
        f"dilated by {dilation}", DilatedWindowAttention, {"window": None, "dilation": dilation}, sees_all=False
    )


def reduced(reduction: Size = 2) -> Kind:
    """Keys and values of a map reduced by a strided convolution."""
    return Kind(f"reduced by {reduction}", ReducedAttention, {"reduction": reduction})


def kernel(features: int | None = None) -> Kind:
    """Kernel features in place of the softmax; as many as a head has channels if None."""

    def options(old: Attention) -> dict[str, Any]:
        return {"attend": KernelAttend(old.head_dim, features=features, scale=old.attend.scale)}

    return Kind("kernel features" if features is None else f"{features} kernel features", GlobalAttention, options)


def convolutional(kv_stride: int = 2) -> Kind:
    """Convolutional projections, keys and values at a stride."""
    return Kind(f"convolutional, stride {kv_stride}", ConvProjectionAttention, {"kv_stride": kv_stride})


def talking_heads() -> Kind:
    """Heads mixed before and after the softmax."""
    return Kind("talking heads", TalkingHeadsAttention)


def left_out() -> Kind:
    """No attention at all."""
    return Kind("left out", lambda old: NoMixing(old.dim), sees_all=False)


def heads(count: int) -> Kind:
    """The ``count`` heads that write most, by the size of the product of values and projection; of global attention with a ``qkv``."""
    return Kind(f"{count} heads", lambda old: fewer_heads(old, count))


@torch.no_grad()
def fewer_heads(old: Attention, count: int) -> SelfAttention:
    """Global attention with some heads of another.

    Raises:
        ValueError: ``old`` is of another kind, or has no more heads than that.
    """
    if not (type(old) is GlobalAttention and isinstance(old.qkv, nn.Linear) and isinstance(old.proj, nn.Linear)):
        raise ValueError(f"heads can be left out of a GlobalAttention with Linears, got {type(old).__name__}")
    if not 0 < count < old.heads or old.value_dim != old.head_dim or old.position_bias is not None:
        raise ValueError(f"heads must lie in [1, {old.heads}), of an attention without position bias, got {count}")
    qkv = rearrange(old.qkv.weight, "(three h d) c -> three h d c", three=3, h=old.heads)
    proj = rearrange(old.proj.weight, "c (h d) -> h c d", h=old.heads)
    sizes = torch.linalg.matrix_norm(torch.einsum("h c d, h d e -> h c e", proj, qkv[2]))
    best = sizes.topk(count).indices.sort().values
    biased = old.qkv.bias is not None
    new = GlobalAttention(
        old.dim, count, head_dim=old.head_dim, qkv_bias=biased, rotary=old.rotary, dropout=old.dropout.p
    ).to(proj)
    new.attend.scale, new.attend.dropout = old.attend.scale, old.attend.dropout
    assert isinstance(new.qkv, nn.Linear)
    assert isinstance(new.proj, nn.Linear)
    new.qkv.weight.copy_(rearrange(qkv[:, best], "three h d c -> (three h d) c"))
    new.proj.weight.copy_(rearrange(proj[best], "h c d -> c (h d)"))
    if biased:
        bias = rearrange(old.qkv.bias, "(three h d) -> three h d", three=3, h=old.heads)
        new.qkv.bias.copy_(rearrange(bias[:, best], "three h d -> (three h d)"))
    if old.proj.bias is not None:
        new.proj.bias.copy_(old.proj.bias)
    return new


def standard_kinds() -> list[Kind]:
    """The candidates that are tried if none are named."""
    return [windows(7), dilated(2), reduced(2), kernel(), convolutional(2), left_out()]


def global_layers(model: nn.Module) -> list[str]:
    """The names of the attentions that can be converted: those over all tokens, which are layers that what holds them calls.

    Raises:
        ValueError: there are none.
    """
    found = [
        name
        for name, layer in members(model, ATTENTION)
        if isinstance(layer, Attention) and layer.steps == ONE and not isinstance(layer, WindowAttention)
    ]
    taken = taken_apart(model)
    layers = ((name, model.get_submodule(name)) for name in found)
    found = [name for name, layer in layers if isinstance(layer, SelfAttention) and layer not in taken]
    if not found:
        raise ValueError(
            f"model must have global attention to convert, {type(model).__name__} has none: name attentions of other kinds as layers"
        )
    return found
