"""Weights of an attention, carried into another kind.

All kinds store queries, keys and values head-major as [q | k | v], whether in one projection ``qkv``, in ``q`` and ``kv``, or in ``q``,
``k`` and ``v``: the name of a projection spells what lies in it.
"""

from __future__ import annotations

from torch import nn

from ..attention import Attention
from .affine import Affine, part_of, read, read_projection, write
from .ledger import Ledger, copy, shapes

_HANDLED = ("proj.", "attend.", "position_bias.")


def carry_over(old: Attention, new: Attention) -> Ledger:
    """Fill ``new`` with every weight of ``old`` that it has a place for.

    Raises:
        TypeError: a projection is of a kind whose weights cannot be read or written.
        ValueError: the sizes differ.
    """
    _check_sizes(old, new)
    ledger = Ledger()
    for name in _projections(new):
        if not _copy_alike(old, new, name, ledger):
            write(part_of(new, name), [_rows(old, letter) for letter in name], ledger)
    if not _copy_alike(old, new, "proj", ledger):
        write(part_of(new, "proj"), [read(part_of(old, "proj"))], ledger)
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


def _projections(attention: Attention) -> list[str]:
    found = list(attention.projections())
    if sorted("".join(found)) != ["k", "q", "v"]:
        raise TypeError(
            f"{type(attention).__name__} must project by qkv, by q and kv, or by q, k and v to be swapped, it has {found}"
        )
    return found


def _inside(attention: Attention) -> list[str]:
    """How the keys of the projections begin."""
    return [f"{name}." for name in attention.projections()]


def _rows(attention: Attention, letter: str) -> Affine:
    """The rows of the projection to queries (q), keys (k) or values (v)."""
    name = next(name for name in _projections(attention) if letter in name)
    keys, values = attention.heads * attention.head_dim, attention.heads * attention.value_dim
    widths = {"q": keys, "k": keys, "v": values}
    start = sum(widths[before] for before in name[: name.index(letter)])
    rows = slice(start, start + widths[letter])
    whole = read_projection(attention, name)
    return whole._replace(weight=whole.weight[rows], bias=None if whole.bias is None else whole.bias[rows])


def _copy_alike(old: Attention, new: Attention, name: str, ledger: Ledger) -> bool:
    """Copy a part where both have one of the same class with tensors of the same names and shapes; whether they have."""
    source, target = getattr(old, name, None), getattr(new, name, None)
    if not isinstance(source, nn.Module) or not isinstance(target, nn.Module) or type(source) is not type(target):
        return False
    alike = shapes(source) == shapes(target)
    if alike:
        copy(old, new, [f"{name}.{key}" for key in shapes(target)], ledger)
    return alike


def _copy_own(old: Attention, new: Attention, ledger: Ledger) -> None:
    """What a kind has besides (the reducing convolution and its norm), where the other has all of the same."""
    if not (isinstance(new, type(old)) or isinstance(old, type(new))):
        return
    own = [
        {key: shape for key, shape in shapes(attention).items() if not key.startswith((*_HANDLED, *_inside(attention)))}
        for attention in (old, new)
    ]
    if own[0] == own[1]:
        copy(old, new, own[0], ledger)
