"""Contractions of three or more tensors, in the order that opt_einsum plans."""

from __future__ import annotations

from functools import lru_cache
from operator import index

import opt_einsum
import torch
from torch import Tensor

_Step = tuple[tuple[int, ...], str]


@lru_cache(maxsize=4096)
def _plan(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[_Step, ...]:
    """The pairwise steps of the cheapest order: which operands to take out, and the equation that joins them."""
    _, info = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize="optimal")
    return tuple((tuple(step[0]), step[2]) for step in info.contraction_list)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _constant_plan(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[_Step, ...]:
    """The plan, which depends on shapes alone: the compiler takes it as a constant rather than look into the planner."""
    return _plan(equation, shapes)


def contract(equation: str, *operands: Tensor) -> Tensor:
    """Sum of products as ``torch.einsum`` writes it, evaluated pair by pair in the cheapest order for these sizes.

    The first index of every operand and of the result is the batch. It cannot change the order, since every step carries it, so it
    is left out of the planning and may be symbolic under ``torch.compile`` and ``torch.export``; the other sizes are fixed there.

    Raises:
        ValueError: an operand does not begin with the batch index.
    """
    terms = equation.replace("->", ",").replace(" ", "").split(",")
    if len({term[0] for term in terms}) != 1:
        raise ValueError(f"every term of {equation!r} must begin with the same batch index")
    # The plan needs numbers: index() makes a compiler that has symbols for these sizes fix them.
    shapes = tuple((1, *[index(size) for size in operand.shape[1:]]) for operand in operands)
    pending = list(operands)
    for positions, step in _constant_plan(equation.replace(" ", ""), shapes):
        # A step lists the operands it takes out from the last to the first, so that the numbers of the others hold.
        pair = [pending.pop(position) for position in positions]
        pending.append(torch.einsum(step, *pair))
    return pending[0]
