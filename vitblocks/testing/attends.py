"""The contract of an Attend as checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from ..attention.attend import Attend
from ..folding.declared import declared
from .subject import DTYPES, TOLERANCES, Subject, normal


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
        leak: the most weight that a hidden key may have; none in an Attend that declares ``hides_keys``.
        dtypes, noise, tolerances: see :func:`check_layer`.

    Raises:
        AssertionError: a rule is broken.
    """
    subject = Subject(attend, noise, tolerances)
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


def _queries_keys_values(
    groups: tuple[int, ...], heads: int, head_dim: int, value_dim: int
) -> tuple[Tensor, Tensor, Tensor]:
    lead = (2, *groups, heads)
    widths = ((5, head_dim), (7, head_dim), (7, value_dim))
    q, k, v = (normal((*lead, *shape), i).bfloat16().double() for i, shape in enumerate(widths))
    return q, k, v


def _biases(batch: int, groups: tuple[int, ...], heads: int, n: int, m: int) -> Iterator[tuple[str, Tensor | None]]:
    """Every shape of bias that the partitions and position parts give, plain and with keys hidden."""
    yield "no bias", None
    shapes: list[tuple[int, ...]] = [(heads, n, m), (1, heads, n, m), (batch, *(1,) * len(groups), 1, 1, m)]
    shapes.append((*groups, 1, n, m) if groups else (batch, 1, n, m))
    for shape in shapes:
        bias = normal(shape, 3)
        yield f"bias {shape}", bias
        hidden = normal(shape, 4) > 0
        hidden[..., 0] = False  # A row with no key left has no softmax.
        yield f"bias {shape} with -inf", bias.masked_fill(hidden, float("-inf"))


def _check_attend_case(
    subject: Subject, qkv: tuple[Tensor, Tensor, Tensor], bias: Tensor | None, case: str, leak: float
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
        leak = 0.0 if declared(module, "hides_keys") else leak
        subject.require(most <= leak, "a hidden key has no weight", case, f"one has {most:.3g}, at most {leak:.3g}")
    if declared(module, "averages"):
        sums = weights.sum(dim=-1)
        subject.require_close(sums, torch.ones_like(sums), "the weights of a query sum to 1", case, torch.float64)
    if declared(module, "softmaxed"):
        scaled = deepcopy(module)
        scaled.scale = 1.0
        rule = "softmaxed: it reads q and k by their scaled products, and the same number on all logits changes nothing"
        moved = scaled.weights(q * module.factor(q), k + normal((*k.shape[:-2], 1, k.shape[-1]), 7), bias)
        subject.require_close(moved, weights, rule, case, torch.float64)
    out = module(q, k, v, bias)
    subject.require_close(out, weights @ v, "attend(q, k, v, bias) is weights(q, k, bias) @ v", case, torch.float64)
    (out * normal(out.shape, 5)).sum().backward()
    gradients = {"q": q.grad, "k": k.grad, "v": v.grad, **{name: p.grad for name, p in module.named_parameters()}}
    bad = [name for name, gradient in gradients.items() if gradient is None or not bool(gradient.isfinite().all())]
    subject.require(not bad, "every input and parameter gets a finite gradient", case, f"not so for {', '.join(bad)}")


def _check_attend_groups(subject: Subject, qkv: tuple[Tensor, Tensor, Tensor], takes_bias: bool, case: str) -> None:
    q, k, v = qkv
    if q.dim() == 4:
        return
    bias = normal((q.shape[1], 1, q.shape[-2], k.shape[-2]), 6) if takes_bias else None
    with torch.no_grad():
        together = subject.module(q, k, v, bias)
        for g in range(q.shape[1]):
            alone = subject.module(q[:, g], k[:, g], v[:, g], None if bias is None else bias[g])
            rule = "each group is attended to by itself"
            subject.require_close(together[:, g], alone, rule, f"{case}, group {g}", torch.float64)


def _check_attend_dtypes(
    subject: Subject, qkv: tuple[Tensor, Tensor, Tensor], dtypes: Sequence[torch.dtype], case: str
) -> None:
    with torch.no_grad():
        exact = subject.module(*qkv)
        for dtype in dtypes:
            low = subject.fresh(dtype)(*(part.to(dtype) for part in qkv))
            subject.require(low.dtype == dtype, "the dtype is kept", case, f"expected {dtype}, got {low.dtype}")
            subject.require_close(low, exact, f"{dtype} lies close to float64", case, dtype)
