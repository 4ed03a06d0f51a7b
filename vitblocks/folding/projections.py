"""Queries, keys and values by a product each, without what attention does not see of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.base import Attention, reads_queries
from .affine import Affine, precede
from .declared import child, declared
from .freezing import only_turns
from .owners import Owners
from .reading import known, sole_linear
from .report import Fold


class Separate(nn.Module):
    """Linears of the same tokens, one by one: ``(..., dim) -> ((..., a), (..., b), ...)``."""

    def __init__(self, **linears: nn.Linear) -> None:
        super().__init__()
        for name, linear in linears.items():
            self.add_module(name, linear)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(linear(x) for linear in self.children())


def separate_projections(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Queries, keys and values of a projection that is ``separable`` by a Linear each.

    Where a softmax reads them, and nothing norms them before, the factor of the logits goes into the queries, and keys have no bias:
    without rotary positions it adds the same to all logits of a query. Where values are averaged, their bias goes into the projection
    after it, if that is a Linear. An attention whose parts something else calls is left alone.
    """
    taken = taken_apart(model)
    for attn in list(model.modules()):
        names = known(attn, "separable")
        if names is None or not isinstance(attn, Attention) or attn in taken or not owners.alone(attn):
            continue
        linears = linears_of(attn)
        if linears is None:
            continue
        _leave_out(attn, linears)
        for name in attn.projections():
            parts = {letter: linears[letter] for letter in name}
            setattr(attn, name, Separate(**parts).eval() if name in names else parts[name])
        yield Fold("queries, keys and values by a product each", owners.name(attn), owners.name(attn))


def taken_apart(model: nn.Module) -> set[nn.Module | None]:
    """Attentions whose parts another part calls by itself: it may read their values, as adaptive sampling does for its scores."""
    names = ((holder, declared(holder, "calls_parts_of")) for holder in model.modules())
    return {child(holder, name) for holder, name in names if name is not None}


def linears_of(attn: Attention) -> dict[str, nn.Linear] | None:
    """Copies of what makes queries, keys and values, by a Linear each; None where one of the projections is more than a Linear."""
    made = {name: sole_linear(part) for name, part in attn.projections().items()}
    if any(linear is None for linear in made.values()):
        return None
    return {letter: part for name, linear in made.items() for letter, part in _split(attn, name, linear)}


def _split(attn: Attention, name: str, linear: Any) -> Iterator[tuple[str, nn.Linear]]:
    """The Linears of the letters of a projection's name."""
    widths = {"q": attn.heads * attn.head_dim, "k": attn.heads * attn.head_dim, "v": attn.heads * attn.value_dim}
    weights = linear.weight.split([widths[letter] for letter in name])
    biases = [None] * len(name) if linear.bias is None else linear.bias.split([widths[letter] for letter in name])
    for letter, weight, bias in zip(name, weights, biases, strict=True):
        part = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device=weight.device, dtype=weight.dtype)
        part.weight = nn.Parameter(weight.clone(), requires_grad=False)
        if bias is not None:
            part.bias = nn.Parameter(bias.clone(), requires_grad=False)
        yield letter, part


def _leave_out(attn: Attention, linears: dict[str, nn.Linear]) -> None:
    """Take the factor of the logits into the queries, and biases out of keys and values, where the Attend allows it."""
    normed = getattr(attn, "qk_norm", None) is not None
    plain = not normed and only_turns(getattr(attn, "rotary", None)) and not reads_queries(attn.position_bias)
    if known(attn.attend, "softmaxed") and plain:
        scale = attn.attend.factor(linears["q"].weight.new_empty(0, attn.head_dim))
        attn.attend.scale = 1.0
        for parameter in linears["q"].parameters():
            parameter.copy_((parameter.double() * scale).to(parameter.dtype))
        if getattr(attn, "rotary", None) is None:
            linears["k"].register_parameter("bias", None)
    proj, bias = sole_linear(attn.proj), linears["v"].bias
    if known(attn.attend, "averages") and proj is not None and bias is not None:
        precede(proj, Affine(torch.ones_like(bias, dtype=torch.float64), bias.double()))
        linears["v"].register_parameter("bias", None)
