"""What can be done to the value of a site: functions from what is there to what is put there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .sites import OF_PAIRS
from .view import View, Where

Change: TypeAlias = Callable[[View, int], Tensor]
"""``change(view, call) -> value``, in the view's form or one that broadcasts to it; ``call`` counts the calls of the site."""

Ablation: TypeAlias = Literal["zero", "mean", "other image"]
"""What an ablation puts in place: zeros, the mean over images and tokens, or what another image of the batch has there."""


def apply(view: View, change: Change, where: Where, call: int) -> tuple[Tensor, bool]:
    """The value after a change of what is meant, bit for bit what it was elsewhere; and whether anything was meant."""
    mask = view.mask(where)
    if mask is not None and not mask.any():
        return view.value, False
    changed = change(view, call).to(view.value.dtype).expand_as(view.value)
    return (changed if mask is None else torch.where(mask, changed, view.value)), True


def replaced(given: Tensor | Callable[[Tensor], Tensor]) -> Change:
    """Another value, or what a function makes of the one that is there."""

    def change(view: View, call: int) -> Tensor:
        value = given if isinstance(given, Tensor) else given(view.shown)
        if not isinstance(value, Tensor):
            raise TypeError(f"what is put into {view.site} must be a tensor, the function gave {type(value).__name__}")
        return view.lift(value)

    return change


def scaled(factor: float | Tensor) -> Change:
    """The value times a factor, which may be a tensor of the value's form."""

    def change(view: View, call: int) -> Tensor:
        return view.value * (view.lift(factor) if isinstance(factor, Tensor) else factor)

    return change


def patched(run: Mapping[str, Tensor], name: str) -> Change:
    """What the site had in another run, call by call.

    Raises:
        ValueError: it was not read there.
    """
    calls = [value for key, value in run.items() if key == name or key.rpartition(":")[0] == name]

    def change(view: View, call: int) -> Tensor:
        if not calls:
            raise ValueError(f"{name} was not read in the run to patch from, which has {list(run)}")
        return view.lift(calls[call % len(calls)])

    return change


def ablated(to: Ablation, where: Where, order: Sequence[int] | None) -> Change:
    """See :data:`Ablation`; ``order`` says whose value each image gets.

    Raises:
        ValueError: there is no such ablation.
    """
    if to not in get_args(Ablation):
        raise ValueError(f"to must be one of {', '.join(map(repr, get_args(Ablation)))}, got {to!r}")
    if to == "zero":
        return lambda view, call: torch.zeros_like(view.value)
    if to == "mean":
        return lambda view, call: mean(view, where)
    return lambda view, call: of_other_images(view, order)


def mean(view: View, where: Where) -> Tensor:
    """The mean over all images and the tokens meant, padding left out; at logits and weights over images alone."""
    if view.word in OF_PAIRS:
        return view.value.mean(dim=0, keepdim=True)
    meant, real = view.mask(Where(tokens=where.tokens)), view.real()
    counted = meant if real is None else real if meant is None else meant & real
    if counted is None:
        return view.value.mean(dim=(0, 1, 3), keepdim=True)
    count = view.value.shape[0] * counted.sum()
    return torch.where(counted, view.value, 0).sum(dim=(0, 1, 3), keepdim=True) / count


def of_other_images(view: View, order: Sequence[int] | None) -> Tensor:
    """The value of image ``order[i]`` in place of that of image i; of the one before it if None."""
    images = view.value.shape[0]
    if order is None:
        if images < 2:
            raise ValueError(f"{view.site} has one image: there is no other to take its value from")
        return view.value.roll(1, 0)
    if len(order) != images or not all(0 <= i < images for i in order):
        raise ValueError(f"order must name an image of {images} for each of them, got {list(order)}")
    return view.value[list(order)]
