"""The attention family: a new attention, made with the settings of the old one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn

from ..attention import (
    Attention,
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindows,
    GlobalAttention,
    ReducedAttention,
    ShiftedWindows,
    WindowAttention,
    Windows,
)
from ..attention.base import SelfAttention
from ..grid import to_pair
from ..model import Model
from ..pool import AttentionPool
from ..zoo.levit import DownsamplingAttention
from ..zoo.regionvit import RegionalAttention
from .carry import carry_over
from .family import Family, Options, taken
from .ledger import Ledger
from .start import start_neutral


def is_no_layer(kind: type[nn.Module]) -> bool:
    """Whether a class of attention is no layer ``(x, grid) -> x``: poolers, downsamplers, and frames without a forward."""
    return issubclass(kind, (AttentionPool, DownsamplingAttention)) or kind.forward is nn.Module.forward


def poolers_and_downsamplers(model: nn.Module) -> set[int]:
    """Attentions that are no layers, and everything inside of pools."""
    pools = [module.pool for module in model.modules() if isinstance(module, Model)]
    others = [module for module in model.modules() if isinstance(module, Attention) and is_no_layer(type(module))]
    return {id(part) for module in pools for part in module.modules()} | {id(module) for module in others}


def carry_attention(old: Attention, new: Attention, options: Options) -> Ledger:
    start_neutral(new, keep_mixes="init_std" in options)
    return carry_over(old, new)


def make_like(old: Attention, kind: type[Attention], options: Options) -> Attention:
    """``kind`` with the sizes, rates and finished projections of ``old``, as far as it takes them; ``options`` go first."""
    settings: dict[str, Any] = {
        "head_dim": old.head_dim,
        "value_dim": old.value_dim,
        "dropout": old.dropout.p,
        "qkv_bias": has_bias(old),
    }
    # A projection that is more than a Linear (LeViT's carry norms) has no counterpart unless the new kind gets the same.
    for name in ("qkv", "proj"):
        part = getattr(old, name, None)
        if isinstance(part, nn.Module) and not isinstance(part, nn.Linear):
            settings[name] = deepcopy(part)
    arguments = taken(kind, settings, options)
    new = kind(old.dim, old.heads, **arguments)
    keep_attend(old, new, options)
    keep_positions(old, new, options)
    return new


def has_bias(attention: Attention) -> bool:
    """Whether queries, keys and values are projected with a bias."""
    names = ("qkv.", "q.", "k.", "v.", "kv.")
    return any(key.startswith(names) and key.endswith("bias") for key, _ in attention.named_parameters())


def keep_attend(old: Attention, new: Attention, options: Options) -> None:
    """The old Attend where the new kind has the same, else its scale and dropout; what ``options`` say about it goes first."""
    if "attend" in options:
        return
    if type(new.attend) is type(old.attend) and not options.keys() & {"attn_dropout", "weight_scale", "init_std"}:
        new.attend = deepcopy(old.attend)
        return
    new.attend.scale = old.attend.scale
    if "attn_dropout" not in options:
        new.attend.dropout = old.attend.dropout


def keep_positions(old: Attention, new: Attention, options: Options) -> None:
    """Position parts that mean the same in the new attention."""
    if "position_bias" not in options and token_steps(old) is not None and token_steps(old) == token_steps(new):
        new.position_bias = deepcopy(old.position_bias)
    # Rotations depend on offsets alone and have no size of their own.
    if "rotary" not in options and isinstance(old, SelfAttention) and isinstance(new, SelfAttention):
        new.rotary = deepcopy(old.rotary)


def token_steps(attention: Attention) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns between neighbouring queries, and between neighbouring keys; None where that is not known.

    A position bias speaks of offsets in these steps, so it may move between attentions in which they agree.
    """
    one = (1, 1)
    if isinstance(attention, WindowAttention):
        windows = attention.windows
        if isinstance(windows, DilatedWindows):
            step = to_pair(windows.dilation)
            return step, step
        return (one, one) if isinstance(windows, (Windows, ShiftedWindows)) else None
    if isinstance(attention, (GlobalAttention, RegionalAttention, ClassAttention)):
        return one, one
    if isinstance(attention, ReducedAttention):
        return one, attention.reduction
    if isinstance(attention, ConvProjectionAttention):
        stride = attention.k.conv.stride
        return one, (stride[0], stride[1])
    return None


ATTENTION = Family(
    "attention",
    "an attention",
    (Attention,),
    carry_attention,
    make=make_like,
    left_alone=poolers_and_downsamplers,
    not_layers=is_no_layer,
    base=Attention,
)
