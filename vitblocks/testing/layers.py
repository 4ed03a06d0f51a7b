"""The contract of layers and transitions as checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from ..grid import Grid
from .declarations import check_declared
from .subject import DTYPES, GRIDS, TOLERANCES, Call, Case, PrefixCounts, Source, Subject, cases_of, normal


def check_layer(
    layer: Source,
    dim: int,
    *,
    grids: Sequence[Grid] = GRIDS,
    prefix: PrefixCounts = (0, 1, 5),
    refuses: PrefixCounts = (),
    dtypes: Sequence[torch.dtype] = DTYPES,
    out_dim: int | None = None,
    adds: int = 0,
    noise: float = 0.1,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
) -> None:
    """Check that ``layer(x, grid) -> x`` keeps the contract, on every grid and with every number of prefix tokens.

    The rules: shape and dtype are kept; the output is finite; the input is left alone; in eval mode the same input gives the same
    output, whatever the other images of the batch are; in train mode every parameter gets a finite gradient; lower precisions lie
    close to float64; a deepcopy and a state_dict round trip give the same output, and no two keys share a tensor; no grid is
    remembered; too few tokens for the grid raise ValueError, unless the layer never reads the grid; what the layer and its parts declare
    for :func:`vitblocks.fold` and other tools (:mod:`vitblocks.folding.declared`) holds.

    Args:
        layer: a layer, or a function that makes one.
        dim: channels of ``x``.
        grids: the grids to run on. Rectangles find transposed sizes.
        prefix: the numbers of prefix tokens that the layer takes, or a function from the grid to them.
        refuses: numbers of prefix tokens that must raise ValueError.
        dtypes: the precisions to run in.
        out_dim: channels of the output; ``dim`` if None.
        adds: prefix tokens that the layer adds.
        noise: standard deviation of what is added to the parameters first, so that those which start at zero take part.
        tolerances: see :data:`TOLERANCES`.

    Raises:
        AssertionError: a rule is broken; the message names the rule, the grid, the prefix and the numbers.
    """
    subject = Subject(layer, noise, tolerances)
    cases = list(cases_of(grids, prefix, dim))
    for case in cases:
        shape = (case.x.shape[0], case.x.shape[1] + adds, dim if out_dim is None else out_dim)
        for dtype in dtypes:
            y = subject.fresh(dtype)(case.x.to(dtype), case.grid)
            subject.require(isinstance(y, Tensor), "a layer returns a tensor", case, f"got {type(y).__name__}")
            subject.require(
                tuple(y.shape) == shape, "the shape is kept", case, f"expected {shape}, got {tuple(y.shape)}"
            )
            subject.require(y.dtype == dtype, "the dtype is kept", case, f"expected {dtype}, got {y.dtype}")
    _check_rules(subject, _layer_output, cases, dtypes)
    _check_refusals(subject, _layer_output, cases_of(grids, refuses, dim))


def check_transition(
    transition: Source,
    dim: int,
    *,
    grids: Sequence[Grid] = ((4, 6), (8, 2), (2, 2)),
    prefix: PrefixCounts = (0,),
    refuses: PrefixCounts = (),
    dtypes: Sequence[torch.dtype] = DTYPES,
    out_dim: int | None = None,
    noise: float = 0.1,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
) -> None:
    """Check that ``transition(x, grid) -> (x, grid)`` keeps the contract.

    The rules are those of :func:`check_layer`, but for the shape: the grid that comes out is a tuple of ints, and the tokens are as many
    as the prefix tokens that went in and the places of that grid.

    Args:
        transition: a transition, or a function that makes one.
        out_dim: channels of the output; ``dim`` if None.
        others: see :func:`check_layer`.

    Raises:
        AssertionError: a rule is broken.
    """
    subject = Subject(transition, noise, tolerances)
    cases = list(cases_of(grids, prefix, dim))
    for case in cases:
        for dtype in dtypes:
            result = subject.fresh(dtype)(case.x.to(dtype), case.grid)
            is_pair = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)
            subject.require(is_pair, "a transition returns (x, grid)", case, f"got {type(result).__name__}")
            y, grid = result
            is_grid = type(grid) is tuple and all(type(side) is int for side in grid)
            subject.require(is_grid, "the grid is a plain tuple of ints", case, f"got {grid!r}")
            shape = (case.x.shape[0], case.prefix + prod(grid), dim if out_dim is None else out_dim)
            detail = f"expected {shape} for the new grid {grid}, got {tuple(y.shape)}"
            subject.require(tuple(y.shape) == shape, "tokens are the prefix and the grid", case, detail)
            subject.require(y.dtype == dtype, "the dtype is kept", case, f"expected {dtype}, got {y.dtype}")
    _check_rules(subject, _transition_output, cases, dtypes)
    _check_refusals(subject, _transition_output, cases_of(grids, refuses, dim))


def _layer_output(module: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    return module(x, grid)


def _transition_output(module: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    return module(x, grid)[0]


def _check_rules(subject: Subject, call: Call, cases: Sequence[Case], dtypes: Sequence[torch.dtype]) -> None:
    """The rules that layers and transitions share."""
    if not cases:
        raise ValueError("nothing to check: grids and prefix must name at least one case")
    for case in cases:
        with torch.no_grad():
            y = _check_output(subject, call, case)
            _check_batch(subject, call, case, y)
            _check_precision(subject, call, case, y, dtypes)
        _check_gradients(subject, call, case)
    with torch.no_grad():
        _check_copies(subject, call, cases[0])
        _check_memory(subject, call, cases)
        _check_too_few(subject, call, cases)
        check_declared(subject, cases)


def _check_output(subject: Subject, call: Call, case: Case) -> Tensor:
    before = case.x.clone()
    module = subject.fresh()
    y = call(module, case.x, case.grid).clone()
    subject.require(torch.equal(case.x, before), "the input is left alone", case, "x was changed in place")
    bad = int((~y.isfinite()).sum())
    subject.require(bad == 0, "the output is finite", case, f"{bad} of {y.numel()} values are not")
    again = call(module, case.x, case.grid)
    same = y.shape == again.shape and torch.equal(y, again)
    subject.require(same, "eval mode is deterministic", case, "two runs on the same input differ")
    return y


def _check_batch(subject: Subject, call: Call, case: Case, y: Tensor) -> None:
    rule = "an image's output does not depend on the other images"
    others = torch.cat([case.x[:1], case.x[1:].flip(2) * 3 + 1])
    subject.require_close(call(subject.fresh(), others, case.grid)[:1], y[:1], rule, case, torch.float64)
    subject.require_close(call(subject.fresh(), case.x[:1], case.grid), y[:1], rule, f"{case}, alone", torch.float64)


def _check_precision(subject: Subject, call: Call, case: Case, y: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    for dtype in dtypes:
        if dtype != torch.float64:
            low = call(subject.fresh(dtype), case.x.to(dtype), case.grid)
            subject.require_close(low, y, f"{dtype} lies close to float64", case, dtype)


def _check_gradients(subject: Subject, call: Call, case: Case) -> None:
    """In train mode on a copy, which batch statistics may change."""
    module = subject.fresh().train()
    module.zero_grad(set_to_none=True)
    x = case.x.clone().requires_grad_()
    y = call(module, x, case.grid)
    if y.requires_grad:
        (y * normal(y.shape, 2).to(y)).sum().backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    subject.require(not without, "every parameter gets a gradient", case, f"none for {', '.join(without)}")
    gradients = {"x": x.grad, **{name: p.grad for name, p in module.named_parameters()}}
    bad = [name for name, gradient in gradients.items() if gradient is not None and not bool(gradient.isfinite().all())]
    subject.require(not bad, "gradients are finite", case, f"not so for {', '.join(bad)}")


def _check_copies(subject: Subject, call: Call, case: Case) -> None:
    copy = deepcopy(subject.module)
    y = call(subject.module, case.x, case.grid)
    subject.require(
        torch.equal(call(copy, case.x, case.grid), y), "a deepcopy gives the same output", case, "it differs"
    )
    state = {key: value.clone() for key, value in copy.state_dict().items()}
    for value in copy.state_dict().values():
        if value.is_floating_point():
            value.add_(1)
    copy.load_state_dict(state)
    same = torch.equal(call(copy, case.x, case.grid), y)
    subject.require(same, "a state_dict round trip gives the same output", case, "it differs")
    homes: dict[int, str] = {}
    for key, value in subject.module.state_dict().items():
        if value.numel():
            first = homes.setdefault(value.data_ptr(), key)
            subject.require(first == key, "no two keys of the state_dict share a tensor", case, f"{first} and {key} do")


def _check_memory(subject: Subject, call: Call, cases: Sequence[Case]) -> None:
    for first, second in pairwise([*cases, cases[0]]):
        fresh, used = subject.fresh(), subject.fresh()
        alone = call(fresh, first.x, first.grid)
        call(used, first.x, first.grid)
        call(used, second.x, second.grid)
        after = call(used, first.x, first.grid)
        same = alone.shape == after.shape and torch.equal(alone, after)
        subject.require(same, "no grid is remembered", first, f"the output differs after a run on {second}")


def _check_too_few(subject: Subject, call: Call, cases: Sequence[Case]) -> None:
    for case in cases:
        if prod(case.grid) < 2:
            continue
        tokens = prod(case.grid) - 1
        x = case.x[:, :tokens]
        if not _ignores_grid(subject.fresh(), call, x, case.grid):
            what = f"{tokens} tokens, too few for the grid,"
            subject.require_value_error(partial(call, subject.fresh(), x, case.grid), what, case)


def _ignores_grid(module: nn.Module, call: Call, x: Tensor, grid: Grid) -> bool:
    """Whether the grid makes no difference: then there is nothing that too few tokens could be laid on wrongly."""
    try:
        return torch.equal(call(module, x, grid), call(module, x, (x.shape[1],)))
    except Exception:
        return False


def _check_refusals(subject: Subject, call: Call, cases: Iterator[Case]) -> None:
    for case in cases:
        what = f"{case.prefix} prefix token(s)"
        subject.require_value_error(partial(call, subject.fresh(), case.x, case.grid), what, case)
