"""The pool family: what makes one feature vector of the tokens."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from ..grid import Grid
from ..pool import AttentionPool, ClassPool, MeanPool, PrefixMeanPool, SequencePool
from ..registry import part
from .family import Call, Family, Options, taken, tokens_of
from .ledger import Ledger, copy, copy_alike, shapes
from .start import neutral


@part
class NormAfter(nn.Module):
    """A pool with a norm on what it gives: ``(B, N, C) -> (B, C)``, for a pool that takes the place of a MeanPool with its norm."""

    def __init__(self, pool: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.norm = norm

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.norm(self.pool(x, grid))


def norm_of(pool: nn.Module) -> nn.Module | None:
    """The norm that comes after pooling."""
    norm = pool.norm if isinstance(pool, (MeanPool, NormAfter)) else None
    return None if isinstance(norm, nn.Identity) else norm


def complete(old: nn.Module, kind: type[nn.Module], options: Options, call: Call | None) -> Options:
    """The width of the tokens, where the new pool wants to know it."""
    tokens = tokens_of(call)
    completed = taken(kind, {"dim": None if tokens is None else tokens[1]}, options)
    if issubclass(kind, (SequencePool, AttentionPool)) and "dim" not in completed:
        raise ValueError(f"{kind.__name__} needs the channels of a token: give sample=, or dim=")
    return completed


def make(old: nn.Module, kind: type[nn.Module], options: Options) -> nn.Module:
    """``kind``, with the norm that comes after ``old``."""
    norm = norm_of(old)
    if issubclass(kind, MeanPool):
        return kind(**({"norm": deepcopy(norm)} | options))
    return kind(**options) if norm is None else NormAfter(kind(**options), deepcopy(norm))


def carry_pool(old: nn.Module, new: nn.Module, options: Options) -> Ledger:
    """The norm after pooling is kept. New weights start at the mean of all tokens, so that a MeanPool without prefix tokens is kept.

    A :class:`SequencePool` starts with logits of zero; an :class:`AttentionPool` with a probe of zero, and values and outputs that are
    the tokens.
    """
    ledger = Ledger()
    if copy_alike(old, new, ledger):
        return ledger
    before, after = norm_of(old), norm_of(new)
    if before is not None and after is not None and type(before) is type(after):
        copy(old, new, [f"norm.{key}" for key in shapes(after)], ledger)
    neutral(new.pool if isinstance(new, NormAfter) else new)
    return ledger


POOL: Family = Family(
    "pool",
    "a pool",
    (ClassPool, MeanPool, PrefixMeanPool, SequencePool, AttentionPool, NormAfter),
    carry_pool,
    make=make,
    complete=complete,
    not_layers=lambda kind: issubclass(kind, NormAfter),
)
