"""Rotary positions: queries and keys turn with the place they stand at."""

from __future__ import annotations

from math import pi
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..checks import check_choice
from ..grid import Grid, Size, image_grid, to_pair
from ..registry import part


@part
class Rotary2d(nn.Module):
    """Rotary positions on a grid (RoFormer, arXiv:2104.09864, eq. 34, in two dimensions as in arXiv:2403.13298).

    Called as ``rotary(q, k, grid) -> (q, k)`` on ``(..., heads, n, head_dim)``; the products then depend on offsets alone. Prefix tokens
    are not turned. Axial ones (Section 3.2 there) turn the first half of a head's pairs of channels with one axis, the second with the
    other, and have no parameters. Mixed ones (Section 3.3) turn every pair with both, by learned frequencies of each head.

    Args:
        head_dim: channels of a query or key, a multiple of 4.
        base: of the frequencies ``base ** (-4 i / head_dim)``; 100 as in arXiv:2403.13298 suits the short sides of an image, and mixed
            ones start with 10 there, each head's axes turned by a random angle.
        pairs: ``"neighbours"``, channels ``2 i`` and ``2 i + 1``; or ``"halves"``, channels ``i`` and ``i + head_dim / 2``.
        coordinates: ``"index"``, 0, 1, 2, ... along each axis; or ``"centre"``, those of the centres of patches in an image from -1 to 1,
            of which 1 is a full turn at the first frequency (DINOv3, arXiv:2508.10104, Section 3.2).
        grid: the (height, width) that an index counts in: places of another grid are scaled to it (EVA-02, arXiv:2303.11331). None for
            the places themselves.
        first: the axis that comes first, in the channels or in the learned frequencies: ``"row"``; or ``"column"``, as the authors of
            arXiv:2403.13298 have it.
        mixed_heads: attention heads of mixed ones; None for axial ones.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        base: float = 100.0,
        pairs: Literal["neighbours", "halves"] = "neighbours",
        coordinates: Literal["index", "centre"] = "index",
        grid: Size | None = None,
        first: Literal["row", "column"] = "row",
        mixed_heads: int | None = None,
    ) -> None:
        """Raises ValueError where ``head_dim`` is not a multiple of 4, or a choice is unknown."""
        super().__init__()
        if head_dim % 4:
            raise ValueError(f"head_dim must be a multiple of 4 for 2-D rotary positions, got {head_dim}")
        check_choice("pairs", pairs, ("neighbours", "halves"))
        check_choice("coordinates", coordinates, ("index", "centre"))
        check_choice("first", first, ("row", "column"))
        self.head_dim = head_dim
        self.base = base
        self.pairs = pairs
        self.coordinates = coordinates
        self.grid = None if grid is None else to_pair(grid, "grid")
        self.first = first
        self.mixed_heads = mixed_heads
        self.frequencies = None if mixed_heads is None else nn.Parameter(self._start(mixed_heads))

    @property
    def undecayed(self) -> tuple[str, ...]:
        return () if self.frequencies is None else ("frequencies",)

    def _start(self, heads: int) -> Tensor:
        """Frequencies ``(2, heads, head_dim / 2)`` of both axes: those of axial positions, each head's axes turned by an angle."""
        size = self.base ** (-4 * torch.arange(self.head_dim // 4) / self.head_dim)
        angle = 2 * pi * torch.rand(heads, 1)
        ways = torch.stack([angle, angle + pi / 2], dim=1)  # heads, two axes, 1
        return torch.stack([rearrange(size * way, "heads two d -> heads (two d)") for way in (ways.cos(), ways.sin())])

    def along(self, size: int, own: int | None, like: Tensor) -> Tensor:
        """The coordinates of ``size`` places along an axis, ``own`` of which its grid has: ``(size,)``."""
        index = torch.arange(size, device=like.device, dtype=like.dtype)
        if self.coordinates == "centre":
            return 2 * pi * (2 * (index + 0.5) / size - 1)
        return index if own is None else index / size * own

    def angles(self, grid: Grid, like: Tensor) -> Tensor:
        """The angle of each pair of channels, in float32 or better: ``(H*W, head_dim / 2)``, of mixed ones for each head before that."""
        height, width = image_grid(grid, "Rotary2d")
        like = like if like.itemsize >= 4 else like.float()
        own = (None, None) if self.grid is None else self.grid
        rows = repeat(self.along(height, own[0], like), "h -> (h w)", w=width)
        columns = repeat(self.along(width, own[1], like), "w -> (h w)", h=height)
        places = torch.stack([rows, columns] if self.first == "row" else [columns, rows])
        if self.frequencies is not None:
            return torch.einsum("a n, a h d -> h n d", places, self.frequencies.to(like.dtype))
        steps = torch.arange(self.head_dim // 4, device=like.device, dtype=like.dtype)
        frequencies = self.base ** (-4 * steps / self.head_dim)
        return rearrange(torch.einsum("a n, d -> n a d", places, frequencies), "n two d -> n (two d)")

    def forward(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Raises ValueError where mixed ones were made for other heads."""
        if self.mixed_heads not in (None, q.shape[-3]):
            raise ValueError(f"q must have the {self.mixed_heads} heads of the mixed Rotary2d, got {tuple(q.shape)}")
        turns = self.tables(grid, q.shape[-2], q)
        turned = turn(q, *turns, self.pairs)
        turns = turns if k.shape[-2] == q.shape[-2] else self.tables(grid, k.shape[-2], k)
        return turned, turn(k, *turns, self.pairs)

    def tables(self, grid: Grid, tokens: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """What channels, and what their partners are multiplied with: ``(tokens, head_dim)``, of mixed ones for each head before that.

        Cosines, and sines of which the first of a pair has its negative. The last ``prod(grid)`` of the tokens lie on the grid; those
        before are prefix tokens, whose angle is zero.
        """
        angles = self.angles(grid, like)
        # The cosine does not see the sign, the sine takes it.
        angles = rearrange(torch.stack([-angles, angles]), f"two ... d -> {_PAIRS[self.pairs].joined}")
        angles = F.pad(angles, (0, 0, tokens - angles.shape[-2], 0))
        return angles.cos(), angles.sin()

    def extra_repr(self) -> str:
        mixed = "" if self.mixed_heads is None else f", mixed_heads={self.mixed_heads}"
        return f"head_dim={self.head_dim}, base={self.base:g}{mixed}"


class _Pairs(NamedTuple):
    """How pairs of channels lie, together and apart, and the axis on which the two lie then."""

    joined: str
    apart: str
    axis: int


_PAIRS = {
    "neighbours": _Pairs("... (d two)", "... d two", -1),
    "halves": _Pairs("... (two d)", "... two d", -2),
}


def turn(x: Tensor, cos: Tensor, sin: Tensor, pairs: str) -> Tensor:
    """Tokens ``(..., heads, n, head_dim)`` turned by what :meth:`Rotary2d.tables` gives for them."""
    together, apart, axis = _PAIRS[pairs]
    partners = rearrange(x, f"{together} -> {apart}", two=2).flip(axis)
    return (x * cos + rearrange(partners, f"{apart} -> {together}") * sin).to(x.dtype)
