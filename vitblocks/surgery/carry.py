"""Weights of an attention, carried into another kind.

All kinds store queries, keys and values head-major as [q | k | v], whether in one projection ``qkv``, in ``q`` and ``kv``, or in ``q``,
``k`` and ``v``: the name of a projection spells what lies in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..attention import Attention
from ..attention.conv_projection import ConvProjection
from ..norm import LinearNorm
from .start import identity_norm

PROJECTIONS = ("qkv", "q", "kv", "k", "v")
_HANDLED = (*(f"{name}." for name in PROJECTIONS), "proj.", "attend.", "position_bias.")


@dataclass
class Ledger:
    """Which keys of the new attention were filled, and which of the old one were read."""

    filled: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)


def carry_over(old: Attention, new: Attention) -> Ledger:
    """Fill ``new`` with every weight of ``old`` that it has a place for.

    Raises:
        TypeError: a projection is of a kind whose weights cannot be read or written.
        ValueError: the sizes differ.
    """
    _check_sizes(old, new)
    ledger = Ledger()
    with torch.no_grad():
        for name in _projections(new):
            if not _copy_alike(old, new, name, ledger):
                _write(getattr(new, name), name, [_rows(old, letter) for letter in name], ledger)
        if not _copy_alike(old, new, "proj", ledger):
            _write(new.proj, "proj", [_read(old.proj, "proj")], ledger)
        for name in ("attend", "position_bias"):
            _copy_alike(old, new, name, ledger)
        _copy_own(old, new, ledger)
    return ledger


def _check_sizes(old: Attention, new: Attention) -> None:
    # Rows of equal number could still be cut into other heads, or queries be taken for values.
    for name in ("dim", "heads", "head_dim", "value_dim"):
        if getattr(old, name) != getattr(new, name):
            raise ValueError(
                f"{name} of the new {type(new).__name__} must be that of the old attention, {getattr(old, name)}, "
                f"for weights to be carried, got {getattr(new, name)}"
            )


class Affine(NamedTuple):
    """Rows of a projection as ``x -> weight @ x + bias``, whether they are trained, and the keys they were read from."""

    weight: Tensor
    bias: Tensor | None
    weight_trains: bool
    bias_trains: bool
    weight_keys: frozenset[str]
    bias_keys: frozenset[str]


def _projections(attention: Attention) -> list[str]:
    found = [name for name in PROJECTIONS if isinstance(getattr(attention, name, None), nn.Module)]
    if sorted("".join(found)) != ["k", "q", "v"]:
        raise TypeError(
            f"{type(attention).__name__} must project by qkv, by q and kv, or by q, k and v to be swapped, it has {found}"
        )
    return found


def _rows(attention: Attention, letter: str) -> Affine:
    """The rows of the projection to queries (q), keys (k) or values (v)."""
    name = next(name for name in _projections(attention) if letter in name)
    keys, values = attention.heads * attention.head_dim, attention.heads * attention.value_dim
    widths = {"q": keys, "k": keys, "v": values}
    start = sum(widths[before] for before in name[: name.index(letter)])
    rows = slice(start, start + widths[letter])
    whole = _read(getattr(attention, name), name)
    return whole._replace(weight=whole.weight[rows], bias=None if whole.bias is None else whole.bias[rows])


def _copy_alike(old: Attention, new: Attention, name: str, ledger: Ledger) -> bool:
    """Copy a part where both have one of the same class with tensors of the same names and shapes; whether they have."""
    source, target = getattr(old, name, None), getattr(new, name, None)
    if not isinstance(source, nn.Module) or not isinstance(target, nn.Module) or type(source) is not type(target):
        return False
    alike = _shapes(source) == _shapes(target)
    if alike:
        _copy(old, new, [f"{name}.{key}" for key in _shapes(target)], ledger)
    return alike


def _copy_own(old: Attention, new: Attention, ledger: Ledger) -> None:
    """What a kind has besides (the reducing convolution and its norm), where the other has all of the same."""
    if not (isinstance(new, type(old)) or isinstance(old, type(new))):
        return
    own = [
        {key: shape for key, shape in _shapes(attention).items() if not key.startswith(_HANDLED)}
        for attention in (old, new)
    ]
    if own[0] == own[1]:
        _copy(old, new, own[0], ledger)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in module.state_dict().items()}


def _copy(old: Attention, new: Attention, keys: Iterable[str], ledger: Ledger) -> None:
    """Copy tensors of the same keys, with whether they are trained."""
    source, trained = old.state_dict(), dict(old.named_parameters())
    targets, parameters = new.state_dict(), dict(new.named_parameters())
    for key in keys:
        targets[key].copy_(source[key])
        if key in parameters:
            parameters[key].requires_grad_(trained[key].requires_grad)
        ledger.filled.add(key)
        ledger.read.add(key)


def _read(module: nn.Module, path: str) -> Affine:
    """A projection as an affine map; a LinearNorm as what it is in evaluation."""
    if isinstance(module, ConvProjection):
        return _read(module.linear, f"{path}.linear")
    if isinstance(module, nn.Linear):
        bias = module.bias
        return Affine(
            module.weight,
            bias,
            module.weight.requires_grad,
            bias is not None and bias.requires_grad,
            frozenset({f"{path}.weight"}),
            frozenset() if bias is None else frozenset({f"{path}.bias"}),
        )
    if isinstance(module, LinearNorm):
        norm = module.norm.bn
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        return Affine(
            module.linear.weight * gain[:, None],
            norm.bias - norm.running_mean * gain,
            module.linear.weight.requires_grad or norm.weight.requires_grad,
            norm.bias.requires_grad,
            frozenset(f"{path}.{key}" for key in module.state_dict() if key != "norm.bn.bias"),
            frozenset({f"{path}.norm.bn.bias"}),
        )
    raise TypeError(_unknown(module, path))


def _write(module: nn.Module, path: str, rows: list[Affine], ledger: Ledger) -> None:
    """Fill a projection with rows one after the other; a missing bias is zero."""
    if isinstance(module, ConvProjection):
        _write(module.linear, f"{path}.linear", rows, ledger)
    elif isinstance(module, nn.Linear):
        _write_weight(module.weight, f"{path}.weight", rows, ledger)
        if module.bias is not None:
            _write_bias(module.bias, f"{path}.bias", rows, ledger)
    elif isinstance(module, LinearNorm):
        identity_norm(module.norm.bn)
        _write_weight(module.linear.weight, f"{path}.linear.weight", rows, ledger)
        _write_bias(module.norm.bn.bias, f"{path}.norm.bn.bias", rows, ledger)
    else:
        raise TypeError(_unknown(module, path))


def _write_weight(target: Tensor, key: str, rows: list[Affine], ledger: Ledger) -> None:
    weight = torch.cat([part.weight for part in rows])
    if weight.shape != target.shape:
        raise ValueError(
            f"{key} of shape {tuple(target.shape)} cannot take over weights of shape {tuple(weight.shape)}"
        )
    target.copy_(weight)
    target.requires_grad_(any(part.weight_trains for part in rows))
    _note(key, (part.weight_keys for part in rows), ledger)


def _write_bias(target: Tensor, key: str, rows: list[Affine], ledger: Ledger) -> None:
    target.zero_()
    if all(part.bias is None for part in rows):
        return
    target.copy_(
        torch.cat([part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in rows])
    )
    target.requires_grad_(any(part.bias_trains for part in rows))
    _note(key, (part.bias_keys for part in rows), ledger)


def _note(key: str, read: Iterable[frozenset[str]], ledger: Ledger) -> None:
    ledger.filled.add(key)
    ledger.read.update(*read)


def _unknown(module: nn.Module, path: str) -> str:
    return (
        f"{path} is a {type(module).__name__}, whose weights have no counterpart in the other attention; "
        f"give the new one a copy of the same module as {path}="
    )
