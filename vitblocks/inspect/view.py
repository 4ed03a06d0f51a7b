"""What a site has in one call, in one form for all of them, and which of it is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from einops import rearrange
from torch import Tensor

from ..grid import Grid
from .places import NOWHERE, Places, TokenChoice
from .sites import OF_ATTEND, OF_PAIRS

Numbers: TypeAlias = int | slice | Sequence[int]
"""Heads, images or channels by number."""


@dataclass(frozen=True)
class Where:
    """Which part of a site is changed: all of it where nothing is said.

    Attributes:
        heads, images, channels: by number.
        tokens: whose rows, by number, as (row, column), ``"prefix"`` or ``"patches"``.
        keys: whose columns of ``logits`` or ``weights``.
    """

    heads: Numbers | None = None
    tokens: TokenChoice | None = None
    keys: TokenChoice | None = None
    images: Numbers | None = None
    channels: Numbers | None = None

    def check(self, site: str, word: str) -> None:
        """Raise ValueError for what such a site has not."""
        if self.heads is not None and word not in OF_ATTEND:
            raise ValueError(f"heads cannot be chosen at {site}, which has none: {', '.join(OF_ATTEND)} have")
        if self.keys is not None and word not in OF_PAIRS:
            raise ValueError(f"keys can be chosen at {' and '.join(OF_PAIRS)}, not at {site}: there give tokens")
        if self.channels is not None and word in OF_PAIRS:
            raise ValueError(f"channels cannot be chosen at {site}, whose columns are keys")


@dataclass(frozen=True)
class View:
    """A site's value ``(B, groups, heads, n, d)`` and where its rows and columns lie; one head where a site has none.

    Attributes:
        site: its name.
        word: what kind of site it is.
        value: the value in that form.
        rows, columns: the tokens that they are; None where it is not known.
    """

    site: str
    word: str
    value: Tensor
    rows: Places | None
    columns: Places | None

    @property
    def shown(self) -> Tensor:
        """The value as a user sees it: with heads and groups at the sites of an Attend, else ``(B, N, C)``."""
        return self.value if self.word in OF_ATTEND else lower(self.value)

    def lift(self, given: Tensor) -> Tensor:
        """A value that a user gives, in the form of this one.

        Raises:
            ValueError: it does not broadcast to it.
        """
        lifted = given
        if self.word not in OF_ATTEND and given.dim() in (3, 4):
            lifted = given[:, None, None] if given.dim() == 3 else given[:, :, None]
        try:
            return lifted.to(self.value).expand_as(self.value)
        except RuntimeError as error:
            raise ValueError(
                f"what is put into {self.site} must broadcast to {tuple(self.shown.shape)}, got {tuple(given.shape)}"
            ) from error

    def mask(self, where: Where) -> Tensor | None:
        """What is meant, as bools that broadcast to the value; None for all of it."""
        images, _, heads, _, channels = self.value.shape
        parts = [
            self._numbers("images", where.images, images, "n -> n 1 1 1 1"),
            self._numbers("heads", where.heads, heads, "n -> 1 1 n 1 1"),
            self._numbers("channels", where.channels, channels, "n -> 1 1 1 1 n"),
            self._tokens("tokens", where.tokens, self.rows, "g n -> 1 g 1 n 1"),
            self._tokens("keys", where.keys, self.columns, "g m -> 1 g 1 1 m"),
        ]
        mask = None
        for part in parts:
            mask = part if mask is None else mask if part is None else mask & part
        return mask

    def _numbers(self, name: str, numbers: Numbers | None, count: int, pattern: str) -> Tensor | None:
        if numbers is None:
            return None
        listed = [numbers] if isinstance(numbers, int) else numbers
        chosen = list(range(count)[listed]) if isinstance(listed, slice) else list(listed)
        if not all(-count <= number < count for number in chosen):
            raise ValueError(f"{name} must lie in [0, {count}), which is how many {self.site} has, got {numbers}")
        mask = torch.zeros(count, dtype=torch.bool, device=self.value.device)
        mask[chosen] = True
        return rearrange(mask, pattern)

    def _tokens(self, name: str, tokens: TokenChoice | None, places: Places | None, pattern: str) -> Tensor | None:
        if tokens is None:
            return None
        if places is None:
            raise ValueError(f"{name} cannot be chosen at {self.site}: it is not known which tokens it is of")
        wanted = torch.tensor(places.numbers(tokens), dtype=torch.long, device=places.ids.device)
        return rearrange(torch.isin(places.ids, wanted), pattern)

    def real(self) -> Tensor | None:
        """Which rows are tokens, and no padding; None where all are, or it is not known."""
        return None if self.rows is None else rearrange(self.rows.ids != NOWHERE, "g n -> 1 g 1 n 1")


def lower(value: Tensor) -> Tensor:
    """``(B, groups, 1, n, C)`` as ``(B, N, C)``, or ``(B, groups, n, C)`` where there are several."""
    value = value[:, :, 0]
    return value[:, 0] if value.shape[1] == 1 else value


def tokens_at(x: Tensor, grid: Grid | None, prefix: int | None) -> Places | None:
    """Where all tokens of ``x (B, N, C)`` lie; None without a grid, or where they are not as many."""
    if grid is None or prefix is None or prefix < 0:
        return None
    return Places(torch.arange(x.shape[1], device=x.device)[None], prefix, grid)
