"""Contractions of three or more tensors, in the order that opt_einsum plans."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import index

import opt_einsum
import torch
from torch import Tensor

_Step = tuple[tuple[int, ...], str]


@lru_cache(maxsize=4096)
def _plan(equation: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[_Step, ...]:
    """The pairwise steps of the cheapest order: which operands to take out, and the equation that joins them; what it makes comes last.

    A step takes its operands as they were given, and orders the indices of what it makes as a batched matrix product leaves them: those of
    both, the first one's, the second one's. Any other order would copy the product.
    """
    path, _ = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize="optimal")
    inputs, result = equation.split("->")
    # Each term with the place of its first operand in the equation.
    pending = list(enumerate(inputs.split(",")))
    steps: list[_Step] = []
    for positions in path:
        taken = sorted(positions, key=lambda position: pending[position])
        terms = [pending[position] for position in taken]
        rest = [term for position, term in enumerate(pending) if position not in positions]
        left = result if not rest else _product([term for _, term in terms], {*result, *"".join(t for _, t in rest)})
        steps.append((tuple(taken), f"{','.join(term for _, term in terms)}->{left}"))
        pending = [*rest, (terms[0][0], left)]
    return tuple(steps)


def _product(terms: Sequence[str], wanted: set[str]) -> str:
    """The indices of the product of one or two terms that are wanted later: those in both first, then each one's own."""
    shared = [i for i in terms[0] if i in wanted and all(i in term for term in terms)]
    own = [i for term in terms for i in term if i in wanted and i not in shared]
    return "".join(dict.fromkeys(shared + own))


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
        made = torch.einsum(step, *(pending[position] for position in positions))
        pending = [operand for position, operand in enumerate(pending) if position not in positions] + [made]
    return pending[0]
