"""Padding that is carried from block to block as tokens: what RegionViT's code does where windows do not fit the map.

The right way is to pad anew in every attention and to hide the padding (:class:`~vitblocks.zoo.regionvit.RegionalAttention`). The
authors' code pads once before a stage's blocks, updates the padding like every other token, and drops it after them; in the last window
the map's own tokens see some of it. Models trained with it need it again. Here the padding is prefix tokens between the regional tokens
and the patches: :class:`CarryPadding` adds them, :class:`DropPadding` takes them away, :class:`PaddedRegionalAttention` mixes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ...attention.attend import mask_bias
from ...attention.options import SelfAttentionOptions
from ...attention.windows import Windows, round_up
from ...grid import Grid, Size, image_grid, num_prefix, split_prefix, to_pair
from ...registry import part
from .parts import RegionalAttention

if TYPE_CHECKING:
    from ...inspect.places import Call, Pair


@part
@dataclass(frozen=True)
class CarriedPadding:
    """Where the padding of a map lies among the tokens: [regional | right of the map | below it | patches], each row-major.

    The map is padded at the right and the bottom to whole windows, to one window where it is smaller.
    """

    size: Size = 7

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", to_pair(self.size, "window"))

    def padded(self, grid: Grid) -> tuple[int, int]:
        """The grid of the padded map."""
        height, width = image_grid(grid, "carried padding")
        rows, columns = to_pair(self.size)
        return round_up(height, rows), round_up(width, columns)

    def count(self, grid: Grid) -> int:
        """How many tokens the padding has."""
        return prod(self.padded(grid)) - prod(grid)

    def __call__(self, x: Tensor, grid: Grid) -> int:
        """How many of the tokens that carry padding are regional.

        Raises:
            ValueError: not one per window.
        """
        (height, width), (rows, columns) = self.padded(grid), to_pair(self.size)
        regions = (height // rows) * (width // columns)
        if num_prefix(x, grid) != regions + self.count(grid):
            raise ValueError(
                f"grid {grid} with windows of {self.size} needs {regions} regional tokens and {self.count(grid)} of padding before "
                f"the patches, x carries {num_prefix(x, grid)}: put CarryPadding before the layer"
            )
        return regions

    def split(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Regional tokens, padding and patches."""
        regions, padding = self(x, grid), self.count(grid)
        regional, carried, patches = x.split([regions, padding, prod(grid)], dim=1)
        return regional, carried, patches

    def assemble(self, padding: Tensor, patches: Tensor, grid: Grid) -> Tensor:
        """The tokens of the padded map, row-major."""
        height, width = image_grid(grid, "carried padding")
        padded = self.padded(grid)
        right, below = padding.split([height * (padded[1] - width), (padded[0] - height) * padded[1]], dim=1)
        rows = [rearrange(part, "b (h w) c -> b h w c", h=height) for part in (patches, right)]
        return torch.cat([rearrange(torch.cat(rows, dim=2), "b h w c -> b (h w) c"), below], dim=1)

    def take_apart(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The inverse of :meth:`assemble`: padding and patches."""
        height, width = image_grid(grid, "carried padding")
        padded = self.padded(grid)
        beside, below = tokens.split([height * padded[1], (padded[0] - height) * padded[1]], dim=1)
        image = rearrange(beside, "b (h w) c -> b h w c", h=height)
        patches, right = image.split([width, padded[1] - width], dim=2)
        right = rearrange(right, "b h w c -> b (h w) c")
        return torch.cat([right, below], dim=1), rearrange(patches, "b h w c -> b (h w) c")


@part
class CarryPadding(nn.Module):
    """Put the padding of the map, as zeros, after the regional tokens: ``(B, R + H*W, C) -> (B, R + P + H*W, C)``."""

    def __init__(self, window: Size = 7) -> None:
        super().__init__()
        self.padding = CarriedPadding(window)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        regional, patches = split_prefix(x, grid)
        zeros = x.new_zeros(x.shape[0], self.padding.count(grid), x.shape[2])
        return torch.cat([regional, zeros, patches], dim=1)


@part
class DropPadding(nn.Module):
    """Take the padding away again: ``(B, R + P + H*W, C) -> (B, R + H*W, C)``."""

    def __init__(self, window: Size = 7) -> None:
        super().__init__()
        self.padding = CarriedPadding(window)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        regional, _, patches = self.padding.split(x, grid)
        return torch.cat([regional, patches], dim=1)


@part
class PaddedRegionalAttention(RegionalAttention):
    """Regional attention with the mask of RegionViT's code: in the last window, tokens of the map see padding (arXiv:2106.02689).

    ``(B, R + P + H*W, dim)`` kept, with the padding that :class:`CarryPadding` adds. In the last window two tokens meet if both lie in
    rows of the map, *or* both in columns of it; the regional token lies in both. Everywhere else both must hold, as is right. On the
    grid ``(0, 0)`` the regional tokens attend to one another.

    Args:
        window: size of a region, an int or a (height, width).
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, attend, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.

    Raises:
        ValueError: in ``forward``, where the prefix tokens are not the regional ones and the padding.
    """

    reads = ("qkv",)
    writes = "proj"

    def __init__(self, dim: int, heads: int = 8, *, window: Size = 7, **options: Unpack[SelfAttentionOptions]) -> None:
        super().__init__(dim, heads, window=window, **options)
        self.padding = CarriedPadding(window)

    def places(self, call: Call) -> Pair:
        if not call.grouped:
            return call.first(call.queries), call.first(call.tokens)
        ids = torch.arange(call.tokens, device=call.device)[None, :, None]
        regional, carried, patches = self.padding.split(ids, call.grid)
        whole = self.padding.assemble(carried, patches, call.grid)
        windows = self.windows.split(whole, self.padding.padded(call.grid))
        both = call.of(torch.cat([regional[:, :, None], windows], dim=2)[0, :, :, 0])
        return both, both

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if grid == (0, 0):
            return super().forward(x, grid)
        regional, padding, patches = self.padding.split(x, grid)
        whole = self.padding.assemble(padding, patches, grid)
        regional, whole = self.mix_regions(regional, whole, self.padding.padded(grid), self._mask(grid, x))
        return torch.cat([regional, *self.padding.take_apart(whole, grid)], dim=1)

    def _mask(self, grid: Grid, like: Tensor) -> Tensor | None:
        padded = self.padding.padded(grid)
        if padded == tuple(grid):
            return None
        in_rows = (torch.arange(padded[0], device=like.device) < grid[0])[:, None].expand(padded)
        in_columns = (torch.arange(padded[1], device=like.device) < grid[1])[None].expand(padded)
        row, column = (_pairs(self.windows, inside, padded) for inside in (in_rows, in_columns))
        allowed = torch.cat([(row & column)[:-1], (row | column)[-1:]])
        # Padding that meets nothing meets itself: nobody reads it, but no row of the mask may be empty.
        itself = torch.eye(allowed.shape[-1], dtype=torch.bool, device=like.device)
        return mask_bias((allowed | itself)[:, None], like.dtype)


def _pairs(windows: Windows, inside: Tensor, padded: tuple[int, int]) -> Tensor:
    """Which two tokens of a window, the regional one first, are both ``inside (H, W)``: ``(R, 1 + n, 1 + n)``."""
    tokens = F.pad(windows.split(rearrange(inside, "h w -> 1 (h w) 1"), padded)[0, :, :, 0], (1, 0), value=True)
    return rearrange(tokens, "g n -> g n 1") & rearrange(tokens, "g m -> g 1 m")
