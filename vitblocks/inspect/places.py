"""Where the queries and keys of an attention matrix lie among the tokens.

Every kind of attention says it by its method ``places(call)``; so does a kind of your own in which not every token attends to every token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import Partition
from ..grid import Grid, image_grid, one_line
from .frames import Frame

NOWHERE = -1
"""The id of padding, which is no token."""

Token: TypeAlias = int | tuple[int, int]
"""One token: its number in the sequence, or the (row, column) of a patch."""

TokenChoice: TypeAlias = Token | str | slice | Sequence[Token]
"""Tokens of a sequence: one, a list of them, a slice of the sequence, ``"prefix"`` or ``"patches"``."""


@dataclass(frozen=True, eq=False)
class Places:
    """Which tokens the rows or columns of attention matrices are.

    Attributes:
        ids: ``(groups, n)`` token numbers in the sequence ``[prefix | patches]``; padding is ``NOWHERE``.
        prefix: how many prefix tokens the sequence has.
        grid: where its patches lie.
    """

    ids: Tensor
    prefix: int
    grid: Grid

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def total(self) -> int:
        """The tokens of the sequence."""
        return self.prefix + prod(self.grid)

    def numbers(self, tokens: TokenChoice) -> list[int]:
        """The numbers of the tokens chosen.

        Raises:
            ValueError: one of them is not in the sequence, or the choice is not understood.
        """
        if isinstance(tokens, slice):
            return list(range(self.total))[tokens]
        if tokens == "prefix":
            return list(range(self.prefix))
        if tokens == "patches":
            return list(range(self.prefix, self.total))
        if isinstance(tokens, (int, tuple)):
            return [self.number(tokens)]
        if isinstance(tokens, str):
            raise ValueError(f'tokens must be "prefix", "patches", numbers or (row, column) pairs, got {tokens!r}')
        return [self.number(token) for token in tokens]

    def number(self, token: Token) -> int:
        """The number of one token.

        Raises:
            ValueError: there is no such token.
        """
        where = f"a sequence of {self.prefix} prefix token(s) and patches on grid {self.grid}"
        if isinstance(token, tuple):
            height, width = image_grid(self.grid, f"the place {token}")
            if len(token) != 2 or not (0 <= token[0] < height and 0 <= token[1] < width):
                raise ValueError(f"{token} is no (row, column) in {where}")
            return self.prefix + token[0] * width + token[1]
        if not -self.total <= token < self.total:
            raise ValueError(f"token {token} is not in {where}")
        return token % self.total


@dataclass(frozen=True)
class Call:
    """How an :class:`Attend` was called: the tokens and grid its layer was given, the queries and keys it was given.

    Attributes:
        tokens, grid: of the nearest layer around it.
        queries, keys: how many, in each group.
        grouped: whether the layer made several groups of its tokens.
        device: of the tokens.
    """

    tokens: int
    grid: Grid
    queries: int
    keys: int
    grouped: bool
    device: torch.device

    @property
    def prefix(self) -> int:
        return self.tokens - prod(self.grid)

    def first(self, count: int) -> Places:
        """The first tokens of the sequence, as one group."""
        return Places(torch.arange(count, device=self.device)[None], self.prefix, self.grid)

    def on(self, grid: Grid, prefix: int) -> Places:
        """All tokens of a sequence on another grid, as one group."""
        return Places(torch.arange(prefix + prod(grid), device=self.device)[None], prefix, grid)

    def whole(self) -> Pair:
        """Queries and keys that are all tokens in order; None of those that are not as many, or in several groups."""
        counts = (self.queries, self.keys)
        queries, keys = (self.first(n) if n == self.tokens and not self.grouped else None for n in counts)
        return queries, keys

    def of(self, ids: Tensor) -> Places:
        """The tokens of each group by their numbers, ``(groups, n)``."""
        return Places(ids, self.prefix, self.grid)

    def windows(self, windows: Partition) -> Tensor:
        """The patches in each window: ``(groups, n)``."""
        # Counted from 1, so that the zeros of padding become NOWHERE.
        ids = torch.arange(1, prod(self.grid) + 1, device=self.device)[None, :, None]
        ids = windows.split(ids, self.grid)[0, :, :, 0]
        return torch.where(ids == 0, NOWHERE, ids - 1 + self.prefix)


Pair: TypeAlias = "tuple[Places | None, Places | None]"
"""Where queries lie, and where keys lie; None where it is not known."""


def places(attention: nn.Module, call: Call) -> Pair:
    """Where the queries and keys of an attention's :class:`Attend` lie, by its own ``places(call)``.

    Of one that does not say it they are all tokens in order, if they are as many and in one group; else not known.
    """
    own: Callable[[nn.Module, Call], Pair] | None = getattr(type(attention), "places", None)
    return call.whole() if own is None else own(attention, call)


def locate(attention: nn.Module, call: Call) -> Pair:
    """:func:`places`, and None for what does not have the shape of the call."""
    queries, keys = places(attention, call)
    return (
        queries if queries is not None and queries.ids.shape[1] == call.queries else None,
        keys if keys is not None and keys.ids.shape[1] == call.keys else None,
    )


def folds(stack: Sequence[Frame]) -> list[Frame]:
    """The calls under way that fold sub-grids into the batch, innermost first: of layers with ``subgrids``."""
    return [frame for frame in reversed(stack) if subgrids(frame) is not None]


def subgrids(frame: Frame) -> Partition | None:
    """The partition by which the module of a call folds tokens into the batch."""
    found = getattr(frame.module, "subgrids", None)
    return found if isinstance(found, Partition) else None


def folded(frame: Frame) -> int:
    """How many sub-grids a call folds into the batch."""
    windows = subgrids(frame)
    if windows is None or frame.grid is None:
        return 1
    return prod(windows.padded(frame.grid)) // prod(windows.window(frame.grid))


def unfold(where: Places | None, frame: Frame) -> Places | None:
    """Places on a sub-grid as places on the grid it was taken from, a group for each sub-grid; None if they are on no such grid."""
    windows = subgrids(frame)
    if windows is None or where is None or where.prefix or frame.grid is None:
        return None
    if where.grid != windows.window(frame.grid):
        return None
    ids = torch.arange(prod(frame.grid), device=where.ids.device)[None, :, None]
    table = windows.split(ids, frame.grid)[0, :, :, 0]
    outer = torch.where(where.ids == NOWHERE, NOWHERE, table[:, where.ids.clamp(min=0)])
    return Places(rearrange(outer, "subgrids g n -> (subgrids g) n"), 0, frame.grid)
