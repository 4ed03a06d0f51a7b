"""The new attention, made with the settings of the old one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..attention import (
    Attention,
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindows,
    DownsamplingAttention,
    GlobalAttention,
    ReducedAttention,
    RegionalAttention,
    ShiftedWindows,
    WindowAttention,
    Windows,
)
from ..attention.base import FusedAttention
from ..grid import to_pair
from ..pool import AttentionPool

To: TypeAlias = type[Attention] | Callable[[Attention], Attention]


def check_kind(to: object, options: dict[str, Any]) -> None:
    """Raise TypeError unless ``to`` can make attention layers from these options."""
    if not isinstance(to, type):
        if not callable(to):
            raise TypeError(f"to must be an attention class or a function old -> new, got {to!r}")
        if options:
            raise TypeError(f"options {sorted(options)} go to an attention class; the function {to!r} sets its own")
    elif not issubclass(to, Attention):
        raise TypeError(f"to must be a subclass of Attention or a function old -> new, got the class {to.__name__}")
    elif issubclass(to, (AttentionPool, DownsamplingAttention)) or to.forward is nn.Module.forward:
        raise TypeError(f"to must be an attention that is a layer (x, grid) -> x, {to.__name__} is none")


def make_attention(old: Attention, to: To, options: dict[str, Any]) -> Attention:
    """The new attention; a class is made with the settings of the old one. Its weights are still its own.

    Raises:
        TypeError: the function ``to`` returned something else.
    """
    new = make_like(old, to, options) if isinstance(to, type) else to(old)
    if not isinstance(new, Attention):
        raise TypeError(f"to must return an Attention, it returned {type(new).__name__}")
    return new


def finish(new: Attention, old: Attention) -> None:
    """Give ``new`` the dtype, device and mode of ``old``."""
    like = first_weight(old)
    if like is not None:
        new.to(device=like.device, dtype=like.dtype)
    new.train(old.training)


def first_weight(module: nn.Module) -> Tensor | None:
    """The parameter whose dtype and device speak for the module."""
    return next((parameter for parameter in module.parameters() if parameter.is_floating_point()), None)


def keywords(kind: type) -> set[str]:
    """The arguments a class takes by name: its own, and those of its bases as long as ``**options`` passes them on."""
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = signature(vars(base)["__init__"]).parameters.values()
        names |= {p.name for p in parameters if p.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)}
        if not any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            break
    return names


def make_like(old: Attention, kind: type[Attention], options: dict[str, Any]) -> Attention:
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
            settings[name] = part
    taken = keywords(kind)
    arguments = {name: value for name, value in settings.items() if name in taken} | options
    # Every layer gets parts of its own, also where the caller gave one for all.
    arguments = {name: deepcopy(v) if isinstance(v, nn.Module) else v for name, v in arguments.items()}
    new = kind(old.dim, old.heads, **arguments)
    keep_attend(old, new, options)
    keep_positions(old, new, options)
    return new


def has_bias(attention: Attention) -> bool:
    """Whether queries, keys and values are projected with a bias."""
    names = ("qkv.", "q.", "k.", "v.", "kv.")
    return any(key.startswith(names) and key.endswith("bias") for key, _ in attention.named_parameters())


def keep_attend(old: Attention, new: Attention, options: dict[str, Any]) -> None:
    """The old Attend where the new kind has the same, else its scale and dropout; what ``options`` say about it goes first."""
    if "attend" in options:
        return
    if type(new.attend) is type(old.attend) and not options.keys() & {"attn_dropout", "weight_scale", "init_std"}:
        new.attend = deepcopy(old.attend)
        return
    new.attend.scale = old.attend.scale
    if "attn_dropout" not in options:
        new.attend.dropout = old.attend.dropout


def keep_positions(old: Attention, new: Attention, options: dict[str, Any]) -> None:
    """Position parts that mean the same in the new attention."""
    if "position_bias" not in options and token_steps(old) is not None and token_steps(old) == token_steps(new):
        new.position_bias = deepcopy(old.position_bias)
    # Rotations depend on offsets alone and have no size of their own.
    if "rotary" not in options and isinstance(old, FusedAttention) and isinstance(new, FusedAttention):
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


def is_shared(new: nn.Module, owned: set[int]) -> bool:
    """Whether a part or tensor of ``new`` is among those with these ids."""
    return any(id(part) in owned for part in parts_of(new))


def parts_of(module: nn.Module) -> list[nn.Module | torch.Tensor]:
    return [*module.modules(), *module.parameters(), *module.buffers()]
