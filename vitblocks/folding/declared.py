"""What parts say of themselves, read by folding, surgery, inspection, training and the checks of :mod:`vitblocks.testing`.

A part says in one line, as an attribute of its class, what a tool must know before it may move numbers from one module into another. All
names are those of children:

- ``normed = {"norm1": "attn"}``: what the norm gives is read by that layer alone, which reads nothing else.
- ``shortcuts = {"shortcut1": "attn"}``: what the layer gives goes into that :class:`~vitblocks.residual.Shortcut` alone.
- ``chained = {"conv": "norm"}``: what the first gives goes through that norm, channel by channel, and nowhere else.
- ``activated = ("fc1", "act", "fc2")``: the activation is given what ``fc1`` gives, and nothing else is; ``fc2`` alone reads what it
  gives, which may be multiplied by other things on the way.
- ``reads = ("q", "kv")``: these alone read what the part is given, token by token.
- ``writes = "proj"``: what the part gives is what this child gives, or zero.
- ``hidden_by = "attend"``: the part adds zero tokens of its own to those it reads, and a mask hides them from this Attend.
- ``hides_keys = True``: an Attend's output does not depend on keys and values under a bias of -inf.
- ``residuals = (("norm1", "attn", "shortcut1"),)``: the part is these residual branches, one after the other: for each of them
  ``x = shortcut(x, layer(norm(x), grid))``.
- ``per_token = True``: a layer that gives every token what it would give it alone, whatever the grid.
- ``reads_first = "count"``: an attribute; a pool that reads so many first tokens and nothing else.
- ``separable = ("qkv",)``: these projections of an attention may give queries, keys and values one by one, as a tuple; nothing but its
  Attend reads them, after rotary positions perhaps, and what that gives goes through ``output``.
- ``softmaxed = True``: an Attend reads queries and keys by their products times its ``scale`` alone, and the same number added to all
  products of a query changes nothing.
- ``averages = True``: an Attend's weights of a query sum to 1.
- ``is_linear = True``: the part has ``weight`` and ``bias``, and its outputs are linear in its inputs by them, the first axis of both
  being the channels that it gives.
- ``scaled_by = "scale"``: an attribute; the norms that are ``normed`` read ``scale * x``, what the layers give is divided by it, and
  ``unscaled()`` gives a part that does neither.
- ``adds_positions = True``: ``forward(x, grid)`` adds what ``positions(grid)`` gives, for ``num_prefix`` prefix tokens.
- ``idle_in_eval = True``: in evaluation the part gives what it is given.
- ``undecayed = ("token",)``: these parameters of its own are not to shrink by weight decay.
- ``hidden_into = "fc2"``: the part's hidden channels are what this child reads.
- ``weighs_logits = True``: an Attend's weights are made of what its method ``logits`` gives, and of nothing else that queries and keys say.
- ``calls_parts_of = "attn"``: the part does not call this attention, but the parts that it is made of.
- ``picks_patches = True``: what the part gives is which patches are kept, as places ``(B, K)`` among those there were, -1 being padding.

A property may say it, where it depends on how the part was made; a child that is None is passed over. A part that says nothing is left
alone. What a class says holds for its subclasses as long as they only construct it in another way: one that defines a method or another
attribute says it anew, or says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

DECLARATIONS: dict[str, type] = {
    "normed": dict,
    "shortcuts": dict,
    "chained": dict,
    "activated": tuple,
    "reads": tuple,
    "writes": str,
    "hidden_by": str,
    "hides_keys": bool,
    "residuals": tuple,
    "per_token": bool,
    "reads_first": str,
    "separable": tuple,
    "softmaxed": bool,
    "averages": bool,
    "is_linear": bool,
    "scaled_by": str,
    "adds_positions": bool,
    "idle_in_eval": bool,
    "undecayed": tuple,
    "hidden_into": str,
    "weighs_logits": bool,
    "calls_parts_of": str,
    "picks_patches": bool,
}
"""What a part may declare, and as what."""

_PASSIVE = {"__init__", "__annotate__", "__annotate_func__", "extra_repr", *DECLARATIONS}


def declared(module: nn.Module | None, name: str) -> Any:
    """What a module declares under a name of :data:`DECLARATIONS`; None where it declares nothing, or that does not hold for it.

    Raises:
        TypeError: the declaration is not of the form that it must have.
        ValueError: it names a child that the module has not.
    """
    stated = next((kind for kind in type(module).__mro__ if name in vars(kind)), None)
    if module is None or stated is None or not _unchanged_since(module, stated):
        return None
    value = vars(stated)[name]
    value = value.__get__(module) if isinstance(value, property) else value
    if value is None:
        return None
    if not isinstance(value, DECLARATIONS[name]):
        wanted = DECLARATIONS[name].__name__
        raise TypeError(f"{stated.__name__}.{name} must be a {wanted}, got {value!r}")
    if isinstance(value, dict) and len({*value.values()}) < len(value):
        raise ValueError(f"{stated.__name__}.{name} must name each child once, got {value!r}")
    for child in _names(value):
        if not hasattr(module, child):
            children = [child for child, _ in module.named_children()]
            raise ValueError(f"{stated.__name__}.{name} names {child!r}, which is none of its children {children}")
    return value


def check_declarations(module: nn.Module) -> None:
    """Raise TypeError or ValueError for a declaration of the module that cannot hold: see :func:`declared`."""
    for name in DECLARATIONS:
        declared(module, name)


def behaves_as(module: nn.Module | None, kind: type[M]) -> TypeGuard[M]:
    """Whether a module is of this class, or of a subclass of it that is merely constructed in another way."""
    return isinstance(module, kind) and _unchanged_since(module, kind)


def _unchanged_since(module: nn.Module, kind: type) -> bool:
    """Whether nothing below a class of the module, and not the module itself, computes something else than the class does."""
    if "forward" in vars(module):
        return False
    below = type(module).__mro__[: type(module).__mro__.index(kind)]
    return all(_is_passive(name, value) for subclass in below for name, value in vars(subclass).items())


def child(module: nn.Module, name: str) -> nn.Module | None:
    """The child of this name; None where there is none."""
    found = getattr(module, name)
    return found if isinstance(found, nn.Module) else None


def _is_passive(name: str, value: Any) -> bool:
    """Whether a subclass may define this without computing something else."""
    return name in _PASSIVE or (name.startswith("__") and not callable(value))


def _names(value: Any) -> Iterator[str]:
    """The names of children in a declaration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, tuple)):
        for inner in value:
            yield from _names(inner)
        yield from value.values() if isinstance(value, dict) else ()
