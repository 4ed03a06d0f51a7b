"""Attention matrices, and where they lie on the image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor

from ..grid import one_line
from .places import NOWHERE, Places, Token
from .table import aligned

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """The attention matrices of one call of one :class:`~vitblocks.attention.Attend`.

    Attributes:
        name: of the Attend in the model.
        weights: ``(B, groups, heads, n, m)``: one group for global kinds, one for each window or sub-grid for others.
        heads: the numbers of the heads in it.
        queries, keys: which tokens the rows and columns of each group are; None for a kind that does not say it, see
            :mod:`vitblocks.inspect.places`.
    """

    name: str
    weights: Tensor
    heads: tuple[int, ...]
    queries: Places | None
    keys: Places | None

    def __repr__(self) -> str:
        return one_line(self)

    def known(self) -> tuple[Places, Places]:
        """The places of queries and keys.

        Raises:
            ValueError: they are not known.
        """
        if self.queries is None or self.keys is None:
            raise ValueError(
                f"where the queries and keys of {self.name} lie is not known: they are no tokens, or the class lacks a method "
                "places(call) -> (queries, keys)"
            )
        return self.queries, self.keys

    def token_weights(self, query: Token) -> Tensor:
        """How much one query attends to every token that the keys come from: ``(B, heads, N)``, zero outside its group.

        Args:
            query: a token's number, prefix tokens first, or the (row, column) of a patch, on the grid of the queries.

        Raises:
            ValueError: there is no such token, or it was no query of this call.
        """
        queries, keys = self.known()
        found = (queries.ids == queries.number(query)).nonzero()
        if not len(found):
            raise ValueError(
                f"token {query} is no query of this record of {self.name}: it is one of another call, or was not asked for"
            )
        group, row = found[0]
        ids = keys.ids[group]
        real = ids != NOWHERE
        seen = self.weights[:, group, :, row]
        return seen.new_zeros(*seen.shape[:-1], keys.total).index_copy(-1, ids[real], seen[..., real])

    def key_map(self, query: Token) -> Tensor:
        """How much one query attends to every patch, on the grid of the keys: ``(B, heads, H, W)``, zero outside its group.

        With reduced keys that grid is coarser than that of the queries. Arguments and errors: see :meth:`token_weights`; a ValueError
        also where tokens were dropped, so that they lie on no grid.
        """
        keys = self.known()[1]
        if len(keys.grid) != 2:
            raise ValueError(
                f"the keys of {self.name} lie on no image grid, but on {keys.grid}: tokens were dropped before it"
            )
        height, width = keys.grid
        return rearrange(self.token_weights(query)[..., keys.prefix :], "... (h w) -> ... h w", h=height, w=width)

    def matrix(self) -> Tensor:
        """All of it among the tokens of the sequences: ``(B, heads, queries, keys)``, zero where two tokens do not meet.

        Padding is no token: where it is attended to, rows sum to what is left. Rows of tokens that are no query of this record are zero.
        Raises ValueError where the places are not known.
        """
        queries, keys = self.known()
        weights = rearrange(self.weights, "b g heads n m -> b heads g n m")
        real = (queries.ids != NOWHERE)[:, :, None] & (keys.ids != NOWHERE)[:, None, :]
        at = (queries.ids[:, :, None] * keys.total + keys.ids[:, None, :])[real]
        flat = weights.new_zeros(*weights.shape[:2], queries.total * keys.total)
        flat = flat.index_copy(-1, at, weights[..., real])
        return rearrange(flat, "b heads (n m) -> b heads n m", n=queries.total, m=keys.total)


class AttentionRecords(list[AttentionRecord]):
    """The records of a ``with record_attention`` block, in the order in which the calls were made; ``print`` gives a line for each."""

    def __repr__(self) -> str:
        shapes = [str(shape) for shape in dict.fromkeys(tuple(record.weights.shape) for record in self)]
        return f"AttentionRecords({len(self)} of shape {' or '.join(shapes)})" if self else "AttentionRecords(none)"

    def __str__(self) -> str:
        head = ("attention", "images", "groups", "heads", "queries", "keys")
        rows = [(record.name, *map(str, record.weights.shape)) for record in self]
        return "\n".join("  ".join(cells).rstrip() for cells in aligned([head, *rows], left=1))

    def named(self) -> dict[str, AttentionRecord]:
        """By name; calls of an Attend after its first have ``:1``, ``:2`` and so on after it."""
        return number_repeats((record.name, record) for record in self)

    def stacked(self) -> Tensor:
        """The weights of all layers: ``(B, layers, heads, n, m)``.

        Raises:
            ValueError: their shapes differ, there are groups, or layers were called more than once.
        """
        shapes = {tuple(record.weights.shape) for record in self}
        repeated = len(self) - len({record.name for record in self})
        if len(shapes) != 1 or any(shape[1] != 1 for shape in shapes) or repeated:
            raise ValueError(
                f"only attention of one shape and one group, each layer called once, can be stacked: shapes are {sorted(shapes)}, "
                f"{repeated} call(s) are repeated"
            )
        return torch.cat([record.weights for record in self], dim=1)


def number_repeats(pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    """A mapping of ``(name, value)`` pairs; names after their first have ``:1``, ``:2`` and so on after them."""
    named: dict[str, T] = {}
    times: dict[str, int] = {}
    for name, value in pairs:
        count = times.get(name, 0)
        times[name] = count + 1
        named[f"{name}:{count}" if count else name] = value
    return named
