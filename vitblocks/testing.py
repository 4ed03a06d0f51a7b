"""The contract as checks to run on layers of your own: they return nothing, or raise AssertionError saying which rule broke.

:func:`check_layer` is for ``layer(x, grid) -> x``, :func:`check_transition` for ``(x, grid) -> (x, grid)``, :func:`check_attend` for an
:class:`~vitblocks.attention.Attend`. :func:`influence` tells which tokens a layer lets see one another. All of them work on copies, the
checks on the CPU: what is given stays as it is, and so does PyTorch's global random state where the layer does not draw from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .attention.attend import Attend
from .grid import Grid

Source: TypeAlias = nn.Module | Callable[[], nn.Module]
PrefixCounts: TypeAlias = Sequence[int] | Callable[[Grid], Sequence[int]]
_Call: TypeAlias = Callable[[nn.Module, Tensor, Grid], Tensor]

GRIDS: tuple[Grid, ...] = ((4, 6), (7, 5), (3, 3))
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""How far outputs may lie apart, as the norm of the difference over the norm of the float64 output."""


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
    remembered; too few tokens for the grid raise ValueError, unless the layer never reads the grid.

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
    subject = _Subject(layer, noise, tolerances)
    cases = list(_cases(grids, prefix, dim))
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
    _check_refusals(subject, _layer_output, _cases(grids, refuses, dim))


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
    subject = _Subject(transition, noise, tolerances)
    cases = list(_cases(grids, prefix, dim))
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
    _check_refusals(subject, _transition_output, _cases(grids, refuses, dim))


def check_attend(
    attend: Attend | Callable[[], Attend],
    heads: int,
    head_dim: int,
    *,
    takes_bias: bool = True,
    leak: float = 0.0,
    dtypes: Sequence[torch.dtype] = DTYPES,
    noise: float = 0.1,
    tolerances: Mapping[torch.dtype, float] = TOLERANCES,
) -> None:
    """Check that ``attend(q, k, v, bias)`` equals ``attend.weights(q, k, bias) @ v``, with the shapes that partitions call it with.

    The rules: as above, for 4-D inputs and for groups ``(B, G, heads, n, d)``, more keys than queries, values as wide as queries or wider,
    and biases of every shape that broadcasts; each group is attended to by itself; keys under a bias of -inf have no weight; outputs and
    gradients of all inputs and parameters are finite; the dtype is kept.

    Args:
        attend: an Attend, or a function that makes one.
        heads, head_dim: what it is made for.
        takes_bias: False for one that must raise ValueError on a bias.
        leak: the most weight that a hidden key may have.
        dtypes, noise, tolerances: see :func:`check_layer`.

    Raises:
        AssertionError: a rule is broken.
    """
    subject = _Subject(attend, noise, tolerances)
    for groups in ((), (3,)):
        for value_dim in (head_dim, head_dim + 3):
            q, k, v = _queries_keys_values(groups, heads, head_dim, value_dim)
            for name, bias in _biases(q.shape[0], groups, heads, q.shape[-2], k.shape[-2]):
                case = f"groups {groups}, value_dim {value_dim}, {name}"
                if bias is not None and not takes_bias:
                    subject.require_value_error(partial(subject.module, q, k, v, bias), "a bias it cannot take", case)
                else:
                    _check_attend_case(subject, (q, k, v), bias, case, leak)
            _check_attend_groups(subject, (q, k, v), takes_bias, f"groups {groups}, value_dim {value_dim}")
            _check_attend_dtypes(subject, (q, k, v), dtypes, f"groups {groups}, value_dim {value_dim}")


def influence(layer: nn.Module, x: Tensor, grid: Grid, *, atol: float = 0.0) -> Tensor:
    """Which inputs each output depends on, found by gradients: ``(N out, N in)`` of bools, for the first image of ``x (B, N, C)``.

    The layer (or transition) runs in eval mode on a copy, all outputs at once: each one in an image of its own, so that the layer must
    treat the images of a batch alike. Dependence weaker than ``atol`` is left out; NaN counts as dependence.
    """
    layer = deepcopy(layer).eval()
    image = x[:1].detach()
    with torch.enable_grad():
        outputs = _tokens(layer(image, grid)).shape[1]
        images = image.repeat(outputs, 1, 1).requires_grad_()
        rows = _tokens(layer(images, grid)).diagonal(dim1=0, dim2=1)  # (C, outputs)
        total = (rows * _normal(rows.shape, 1).to(rows)).sum()
        if not total.requires_grad:
            return torch.zeros(outputs, x.shape[1], dtype=torch.bool, device=x.device)
        (gradient,) = torch.autograd.grad(total, images, allow_unused=True, materialize_grads=True)
    return ~(gradient.abs() <= atol).all(dim=-1)


@dataclass(frozen=True)
class _Case:
    """Tokens to run on."""

    x: Tensor
    grid: Grid
    prefix: int

    def __str__(self) -> str:
        return f"grid {self.grid}, {self.prefix} prefix token(s)"


class _Subject:
    """A copy of what is checked, on the CPU, in float64 and eval mode, and the means to say what is wrong with it."""

    def __init__(self, source: Source, noise: float, tolerances: Mapping[torch.dtype, float]) -> None:
        # A factory may return the same module each time: a copy of it is taken too.
        module = deepcopy(source if isinstance(source, nn.Module) else source())
        if not isinstance(module, nn.Module):
            raise TypeError(f"expected an nn.Module or a function that makes one, got {type(module).__name__}")
        self.name = type(module).__name__
        self.tolerances = tolerances
        self.module = module.cpu().double().eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=noise)

    def fresh(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A copy that no check has run yet: what a module remembers shows in the check that looks for it."""
        return deepcopy(self.module).to(dtype)

    def require(self, holds: bool, rule: str, case: object, detail: str) -> None:
        if not holds:
            raise AssertionError(f"{self.name} breaks the rule that {rule} ({case}): {detail}")

    def require_close(self, got: Tensor, expected: Tensor, rule: str, case: object, dtype: torch.dtype) -> None:
        error = float((got.detach().double() - expected.detach().double()).norm())
        allowed = self.tolerances[dtype] * max(float(expected.detach().double().norm()), 1e-6)
        # Not "error > allowed": a NaN must fail.
        self.require(error <= allowed, rule, case, f"the norm of the difference is {error:.3g}, at most {allowed:.3g}")

    def require_value_error(self, run: Callable[[], object], what: str, case: object) -> None:
        try:
            run()
        except ValueError:
            return
        except Exception as error:
            raise AssertionError(f"{self.name} must raise ValueError for {what} ({case}), raised {error!r}") from error
        raise AssertionError(f"{self.name} must raise ValueError for {what} ({case}), it raised nothing")


def _normal(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _cases(grids: Sequence[Grid], prefix: PrefixCounts, dim: int) -> Iterator[_Case]:
    for grid in grids:
        for count in prefix(grid) if callable(prefix) else prefix:
            # Representable in every dtype, so that all of them run on the same numbers.
            x = _normal((3, count + prod(grid), dim), count + prod(grid)).bfloat16().double()
            yield _Case(x, grid, count)


def _tokens(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result


def _layer_output(module: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    return module(x, grid)


def _transition_output(module: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    return module(x, grid)[0]


def _check_rules(subject: _Subject, call: _Call, cases: Sequence[_Case], dtypes: Sequence[torch.dtype]) -> None:
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


def _check_output(subject: _Subject, call: _Call, case: _Case) -> Tensor:
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


def _check_batch(subject: _Subject, call: _Call, case: _Case, y: Tensor) -> None:
    rule = "an image's output does not depend on the other images"
    others = torch.cat([case.x[:1], case.x[1:].flip(2) * 3 + 1])
    subject.require_close(call(subject.fresh(), others, case.grid)[:1], y[:1], rule, case, torch.float64)
    subject.require_close(call(subject.fresh(), case.x[:1], case.grid), y[:1], rule, f"{case}, alone", torch.float64)


def _check_precision(subject: _Subject, call: _Call, case: _Case, y: Tensor, dtypes: Sequence[torch.dtype]) -> None:
    for dtype in dtypes:
        if dtype != torch.float64:
            low = call(subject.fresh(dtype), case.x.to(dtype), case.grid)
            subject.require_close(low, y, f"{dtype} lies close to float64", case, dtype)


def _check_gradients(subject: _Subject, call: _Call, case: _Case) -> None:
    """In train mode on a copy, which batch statistics may change."""
    module = subject.fresh().train()
    module.zero_grad(set_to_none=True)
    x = case.x.clone().requires_grad_()
    y = call(module, x, case.grid)
    if y.requires_grad:
        (y * _normal(y.shape, 2).to(y)).sum().backward()
    without = [name for name, p in module.named_parameters() if p.requires_grad and p.grad is None]
    subject.require(not without, "every parameter gets a gradient", case, f"none for {', '.join(without)}")
    gradients = {"x": x.grad, **{name: p.grad for name, p in module.named_parameters()}}
    bad = [name for name, gradient in gradients.items() if gradient is not None and not bool(gradient.isfinite().all())]
    subject.require(not bad, "gradients are finite", case, f"not so for {', '.join(bad)}")


def _check_copies(subject: _Subject, call: _Call, case: _Case) -> None:
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


def _check_memory(subject: _Subject, call: _Call, cases: Sequence[_Case]) -> None:
    for first, second in pairwise([*cases, cases[0]]):
        fresh, used = subject.fresh(), subject.fresh()
        alone = call(fresh, first.x, first.grid)
        call(used, first.x, first.grid)
        call(used, second.x, second.grid)
        after = call(used, first.x, first.grid)
        same = alone.shape == after.shape and torch.equal(alone, after)
        subject.require(same, "no grid is remembered", first, f"the output differs after a run on {second}")


def _check_too_few(subject: _Subject, call: _Call, cases: Sequence[_Case]) -> None:
    for case in cases:
        if prod(case.grid) < 2:
            continue
        tokens = prod(case.grid) - 1
        x = case.x[:, :tokens]
        if not _ignores_grid(subject.fresh(), call, x, case.grid):
            what = f"{tokens} tokens, too few for the grid,"
            subject.require_value_error(partial(call, subject.fresh(), x, case.grid), what, case)


def _ignores_grid(module: nn.Module, call: _Call, x: Tensor, grid: Grid) -> bool:
    """Whether the grid makes no difference: then there is nothing that too few tokens could be laid on wrongly."""
    try:
        return torch.equal(call(module, x, grid), call(module, x, (x.shape[1],)))
    except Exception:
        return False


def _check_refusals(subject: _Subject, call: _Call, cases: Iterator[_Case]) -> None:
    for case in cases:
        what = f"{case.prefix} prefix token(s)"
        subject.require_value_error(partial(call, subject.fresh(), case.x, case.grid), what, case)


def _queries_keys_values(
    groups: tuple[int, ...], heads: int, head_dim: int, value_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    lead = (2, *groups, heads)
    widths = ((5, head_dim), (7, head_dim), (7, value_dim))
    q, k, v = (_normal((*lead, *shape), i).bfloat16().double() for i, shape in enumerate(widths))
    return q, k, v


def _biases(batch: int, groups: tuple[int, ...], heads: int, n: int, m: int) -> Iterator[tuple[str, Tensor | None]]:
    """Every shape of bias that the partitions and position parts give, plain and with keys hidden."""
    yield "no bias", None
    shapes: list[tuple[int, ...]] = [(heads, n, m), (1, heads, n, m), (batch, *(1,) * len(groups), 1, 1, m)]
    shapes.append((*groups, 1, n, m) if groups else (batch, 1, n, m))
    for shape in shapes:
        bias = _normal(shape, 3)
        yield f"bias {shape}", bias
        hidden = _normal(shape, 4) > 0
        hidden[..., 0] = False  # A row with no key left has no softmax.
        yield f"bias {shape} with -inf", bias.masked_fill(hidden, float("-inf"))


def _check_attend_case(
    subject: _Subject, qkv: tuple[Tensor, Tensor, Tensor], bias: Tensor | None, case: str, leak: float
) -> None:
    module = deepcopy(subject.module)
    assert isinstance(module, Attend)
    q, k, v = (part.clone().requires_grad_() for part in qkv)
    weights = module.weights(q, k, bias)
    shape = (*q.shape[:-1], k.shape[-2])
    got = f"expected {tuple(shape)}, got {tuple(weights.shape)}"
    subject.require(tuple(weights.shape) == shape, "weights are (..., heads, n, m)", case, got)
    if bias is not None:
        hidden = (bias == float("-inf")).expand(shape)
        most = float(weights.detach()[hidden].abs().max()) if bool(hidden.any()) else 0.0
        subject.require(most <= leak, "a hidden key has no weight", case, f"one has {most:.3g}, at most {leak:.3g}")
    out = module(q, k, v, bias)
    subject.require_close(out, weights @ v, "attend(q, k, v, bias) is weights(q, k, bias) @ v", case, torch.float64)
    (out * _normal(out.shape, 5)).sum().backward()
    gradients = {"q": q.grad, "k": k.grad, "v": v.grad, **{name: p.grad for name, p in module.named_parameters()}}
    bad = [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.isfinite().all())]
    subject.require(not bad, "every input and parameter gets a finite gradient", case, f"not so for {', '.join(bad)}")


def _check_attend_groups(subject: _Subject, qkv: tuple[Tensor, Tensor, Tensor], takes_bias: bool, case: str) -> None:
    q, k, v = qkv
    if q.dim() == 4:
        return
    bias = _normal((q.shape[1], 1, q.shape[-2], k.shape[-2]), 6) if takes_bias else None
    with torch.no_grad():
        together = subject.module(q, k, v, bias)
        for g in range(q.shape[1]):
            alone = subject.module(q[:, g], k[:, g], v[:, g], None if bias is None else bias[g])
            rule = "each group is attended to by itself"
            subject.require_close(together[:, g], alone, rule, f"{case}, group {g}", torch.float64)


def _check_attend_dtypes(
    subject: _Subject, qkv: tuple[Tensor, Tensor, Tensor], dtypes: Sequence[torch.dtype], case: str
) -> None:
    with torch.no_grad():
        exact = subject.module(*qkv)
        for dtype in dtypes:
            low = subject.fresh(dtype)(*(part.to(dtype) for part in qkv))
            subject.require(low.dtype == dtype, "the dtype is kept", case, f"expected {dtype}, got {low.dtype}")
            subject.require_close(low, exact, f"{dtype} lies close to float64", case, dtype)
