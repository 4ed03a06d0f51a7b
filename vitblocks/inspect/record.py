"""Record what a model attends to, for as long as a ``with`` block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ..attention import Attend
from ..fast.private import backward_pass
from .attention_record import AttentionRecord, AttentionRecords
from .frames import Frame, follow, in_this_thread, named_parts, path, uncompiled
from .places import Call, Places, TokenChoice, folded, folds, locate, unfold
from .select import LayerChoice, select_attends

HeadChoice: TypeAlias = int | slice | Sequence[int]
"""Attention heads by number."""


@contextmanager
def record_attention(
    model: nn.Module,
    *,
    layers: LayerChoice | None = None,
    heads: HeadChoice | None = None,
    queries: TokenChoice | None = None,
    device: torch.device | str | None = None,
    detach: bool = False,
) -> Iterator[AttentionRecords]:
    """Within ``with record_attention(model) as records``, every call of an attention by this thread adds its weights to ``records``.

    What is recorded is what :meth:`~vitblocks.attention.Attend.weights` gives for the inputs of the call: without dropout on the
    weights, also in training. The model computes its output as it always does, by fused kernels too, and its buffers are not touched by
    recording. Gradients flow from the weights to whatever made the queries and keys. Where the model, or a part of it, was compiled, it
    runs uncompiled within the block, since compiled code calls no hooks; so does all other compiled code. What gradient checkpointing
    runs again in the backward pass is not recorded again, but the weights recorded are kept. Hooks are gone after the block; after an
    exception ``records`` is emptied.

    Args:
        model: any module with an :class:`~vitblocks.attention.Attend` in it; it may be called several times, and in parts, such as
            ``model.encode``.
        layers: which attentions: names of Attends or of modules that hold them, patterns as in :mod:`fnmatch`, numbers or a slice in the
            model's order, classes of the Attend or of modules that hold it, modules; one or several. All if None.
        heads: which heads; all if None. The others are computed, and not kept.
        queries: which tokens' rows, by their number in the sequence that the layer gets (prefix tokens first), as (row, column) of
            patches, a slice, ``"prefix"`` or ``"patches"``; one or a list. Others are not computed; calls without such queries leave no
            record. All if None. Where the rows of one group differ from those of another, every query gets a group of its own.
        device: where the weights are kept; where they were made if None.
        detach: whether the weights carry no gradients.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: no attention is found in the model, or none for what ``layers`` names; in the model's forward: a layer lacks the heads
            or tokens asked for.
        RuntimeError: the block ended without a record.
    """
    chosen = select_attends(model, layers)
    parts = named_parts(model)
    around = {parts[outer]: None for name in chosen for outer in path(name)[:-1] if outer in parts}
    records = AttentionRecords()
    keep = _Keep(heads, queries, device, detach)
    with follow(around) as stack, uncompiled():
        handles = [
            attend.register_forward_pre_hook(in_this_thread(_note(name, parts, stack, keep, records)), with_kwargs=True)
            for name, attend in chosen.items()
        ]
        try:
            yield records
        except BaseException:
            records.clear()
            raise
        finally:
            for handle in handles:
                handle.remove()
    if not records:
        raise RuntimeError(
            f"record_attention recorded nothing: no attention of {list(chosen)} was called by this thread within the block"
            + ("" if queries is None else f" with queries {queries!r}")
        )


@dataclass(frozen=True)
class _Keep:
    """What of the weights is kept, and how."""

    heads: HeadChoice | None
    queries: TokenChoice | None
    device: torch.device | str | None
    detach: bool

    def head_numbers(self, count: int, name: str) -> tuple[int, ...]:
        if self.heads is None:
            return tuple(range(count))
        if isinstance(self.heads, slice):
            return tuple(range(count)[self.heads])
        numbers = [self.heads] if isinstance(self.heads, int) else list(self.heads)
        if not all(-count <= number < count for number in numbers):
            raise ValueError(f"heads must lie in [0, {count}), which is how many {name} has, got {self.heads}")
        return tuple(number % count for number in numbers)

    def grad_mode(self) -> AbstractContextManager[None]:
        return torch.no_grad() if self.detach else nullcontext()


def _note(
    name: str, parts: Mapping[str, nn.Module], stack: Sequence[Frame], keep: _Keep, records: AttentionRecords
) -> Any:
    """The hook of one Attend, which adds to ``records``."""
    within = backward_pass()
    owner = parts[path(name)[-2]] if name else parts[name]

    def note(attend: Attend, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if backward_pass() != within:
            return
        inputs = {**dict(zip(("q", "k", "v", "bias"), args, strict=False)), **kwargs}
        # What the weights need later is kept here, not left to be made again by gradient checkpointing; detached, since weights that
        # are kept as they are for their own backward hold themselves for good.
        with keep.grad_mode(), saved_tensors_hooks(Tensor.detach, lambda x: x):
            record = _record(name, attend, owner, inputs["q"], inputs["k"], inputs.get("bias"), stack, keep)
        if record is not None:
            records.append(record)

    return note


def _record(
    name: str,
    attend: Attend,
    owner: nn.Module,
    q: Tensor,
    k: Tensor,
    bias: Tensor | None,
    stack: Sequence[Frame],
    keep: _Keep,
) -> AttentionRecord | None:
    """The weights of one call, as much of them as is asked for; None if it has none of the queries."""
    heads = keep.head_numbers(q.shape[-3], name)
    queries, keys, batch = where_lie(owner, q, k, stack)
    bias = None if bias is None else _grouped_bias(bias, q, batch)
    q, k = q.reshape(batch, -1, *q.shape[-3:]), k.reshape(batch, -1, *k.shape[-3:])
    rows = None
    if keep.queries is not None:
        if not getattr(owner, "among_tokens", True):
            return None
        if queries is None:
            raise ValueError(
                f"queries cannot be chosen for {name}, since it is not known which tokens its queries are: give "
                f"{type(owner).__name__} a method places(call) -> (queries, keys)"
            )
        rows = Rows.of(queries, keep.queries)
        if rows is None:
            return None
        queries = Places(rows.pick(queries.ids), queries.prefix, queries.grid)
        keys = None if keys is None else Places(keys.ids[rows.groups], keys.prefix, keys.grid)
    weights = _weights(attend, q, k, bias, rows)
    if keep.heads is not None:
        weights = weights.index_select(2, torch.tensor(heads, device=weights.device))
    return AttentionRecord(
        name, weights.to(weights.device if keep.device is None else keep.device), heads, queries, keys
    )


def where_lie(
    owner: nn.Module, q: Tensor, k: Tensor, stack: Sequence[Frame]
) -> tuple[Places | None, Places | None, int]:
    """Where queries and keys lie on the grid of the innermost layer that folds nothing into the batch, and the batch size there."""
    batch = q.shape[0]
    queries: Places | None = None
    keys: Places | None = None
    frame = next((frame for frame in reversed(stack) if frame.grid is not None and frame.shape is not None), None)
    if frame is not None and frame.shape is not None and frame.grid is not None and frame.shape[0] == batch:
        groups = prod(q.shape[1:-3])
        call = Call(frame.shape[1], frame.grid, q.shape[-2], k.shape[-2], q.dim() > 4, q.device)
        queries, keys = (
            where if where is not None and len(where.ids) == groups else None for where in locate(owner, call)
        )
    for fold in folds(stack):
        batch //= folded(fold)
        queries, keys = unfold(queries, fold), unfold(keys, fold)
    return queries, keys, batch


def _grouped_bias(bias: Tensor, q: Tensor, batch: int) -> Tensor:
    """A bias that broadcasts over ``q (B', ..., heads, n, d)`` as ``(B or 1, G or 1, heads or 1, n or 1, m)``."""
    bias = bias.reshape((1,) * (q.dim() - bias.dim()) + tuple(bias.shape))
    if bias.shape[:-3].numel() == 1:
        return bias.reshape(1, 1, *bias.shape[-3:])
    if q.dim() == 5 and q.shape[0] == batch:
        return bias
    return bias.expand(*q.shape[:-3], *bias.shape[-3:]).reshape(batch, -1, *bias.shape[-3:])


@dataclass(frozen=True)
class Rows:
    """Rows of groups: ``groups (S,)``, and in each of them as many ``rows (S, r)``."""

    groups: Tensor
    rows: Tensor

    @classmethod
    def of(cls, queries: Places, tokens: TokenChoice) -> Rows | None:
        """The rows of these tokens; None if there are none."""
        wanted = torch.tensor(queries.numbers(tokens), dtype=torch.long, device=queries.ids.device)
        mask = torch.isin(queries.ids, wanted)
        groups = mask.any(dim=1).nonzero()[:, 0]
        if not len(groups):
            return None
        mask = mask[groups]
        if (mask == mask[0]).all():
            return cls(groups, mask[0].nonzero()[:, 0].expand(len(groups), -1))
        group, row = mask.nonzero().unbind(dim=1)
        return cls(groups[group], row[:, None])

    def pick(self, ids: Tensor) -> Tensor:
        """``(G, n)`` as ``(S, r)``."""
        return ids[self.groups[:, None], self.rows]

    def take(self, x: Tensor) -> Tensor:
        """``(B, G, heads, n, d)`` as ``(B, S, heads, r, d)``, a copy."""
        picked = rearrange(x, "b g heads n d -> b g n heads d")[:, self.groups[:, None], self.rows]
        return rearrange(picked, "b s r heads d -> b s heads r d")


def _weights(attend: Attend, q: Tensor, k: Tensor, bias: Tensor | None, rows: Rows | None) -> Tensor:
    """``(B, G, heads, n, m)``, or those rows of it."""
    if rows is None:
        return _ask(attend, q, k, bias)
    if _norms_over_rows(attend):
        return rows.take(_ask(attend, q, k, bias))
    if bias is not None:
        bias = rows.take(bias.expand(-1, q.shape[1], -1, q.shape[3], -1))
    return _ask(attend, rows.take(q), k[:, rows.groups], bias)


def _ask(attend: Attend, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """The weights of ``(B, G, heads, n, d)``; one group is not told from none, as in the layer's own call."""
    with scratch_buffers(attend):
        if q.shape[1] > 1:
            return attend.weights(q, k, bias)
        return attend.weights(q[:, 0], k[:, 0], None if bias is None else bias[:, 0])[:, None]


def _norms_over_rows(attend: Attend) -> bool:
    """Whether a row's weights depend on other rows, as with batch statistics in training: then all are needed."""
    return any(isinstance(module, _OVER_ROWS) and module.training for module in attend.modules())


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_OVER_ROWS = (*_BATCH_NORMS, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@contextmanager
def scratch_buffers(module: nn.Module) -> Iterator[None]:
    """Copies in place of the module's buffers in training, so that recording moves no running statistics."""
    kept = [
        (part, name, buffer)
        for part in module.modules()
        if part.training
        for name, buffer in part.named_buffers(recurse=False, remove_duplicate=False)
    ]
    try:
        for part, name, buffer in kept:
            setattr(part, name, buffer.clone())
        yield
    finally:
        for part, name, buffer in kept:
            setattr(part, name, buffer)
