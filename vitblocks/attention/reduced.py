"""Attention to a reduced map: keys and values from fewer tokens than the queries."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ..grid import Grid, Size, image_grid, num_prefix, split_prefix, to_map, to_pair, to_tokens
from ..norm import NormFactory, layer_norm
from ..prefix import join_prefix
from ..registry import part
from .base import CrossAttention, Steps
from .options import CrossAttentionOptions

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class ReducedAttention(CrossAttention):
    """Global attention whose keys and values come from a strided convolution of the map: ``(B, N, dim) -> (B, N, dim)``.

    Spatial-reduction attention (PVT, arXiv:2102.12122, Section 3.3; Twins' global sub-sampled attention, arXiv:2104.13840,
    Section 3.2). Prefix tokens join the keys and values unreduced. Rows and columns beyond the last whole reduction are queries only,
    as in the published code.

    Args:
        reduction: kernel and stride of the reducing convolution, an int or a (height, width); 1 leaves it out.
        norm: factory of the norm on the reduced tokens; an epsilon of 1e-5 as published.
        head_dim, qkv_bias, attend, position_bias, dropout: see :class:`~vitblocks.attention.CrossAttention`; a position bias must give
            (heads, queries, reduced keys).

    Raises:
        ValueError: in ``forward``, for a grid smaller than ``reduction``.
    """

    chained: ClassVar = {"reduce": "norm"}
    writes = "proj"
    separable = ("kv",)

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        reduction: Size = 8,
        norm: NormFactory = layer_norm(1e-5),
        **options: Unpack[CrossAttentionOptions],
    ) -> None:
        super().__init__(dim, heads, **options)
        self.reduction = to_pair(reduction, "reduction")
        plain = self.reduction == (1, 1)
        self.reduce = None if plain else nn.Conv2d(dim, dim, self.reduction, stride=self.reduction)
        self.norm = None if plain else norm(dim)

    @torch.no_grad()
    def reset_neutral(self) -> None:
        """Reduce to each channel's mean over a patch. No value changes nothing: the tokens are fewer."""
        if self.reduce is not None:
            weight = self.reduce.weight
            mean = torch.eye(self.dim, dtype=weight.dtype, device=weight.device) / prod(self.reduction)
            weight.copy_(rearrange(mean, "o i -> o i 1 1").expand_as(weight))
            if self.reduce.bias is not None:
                nn.init.zeros_(self.reduce.bias)

    @property
    def steps(self) -> Steps:
        return (1, 1), self.reduction

    @property
    def reads(self) -> tuple[str, ...] | None:
        # Where there is a convolution, prefix tokens pass it by.
        return ("q", "kv") if self.reduce is None else None

    def places(self, call: Call) -> Pair:
        height, width = image_grid(call.grid, "ReducedAttention")
        down, right = self.reduction
        return call.first(call.tokens), call.on((height // down, width // right), call.prefix)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        tokens = x if self.reduce is None else self.reduced(x, grid)
        return self.cross(x, tokens, self.bias(grid, num_prefix(x, grid)))

    def reduced(self, x: Tensor, grid: Grid) -> Tensor:
        """The tokens that keys and values are made of: the prefix, then the reduced map."""
        assert self.reduce is not None
        assert self.norm is not None
        height, width = image_grid(grid, "ReducedAttention")
        prefix, patches = split_prefix(x, grid)
        if (height, width) == (0, 0):
            return prefix
        if height < self.reduction[0] or width < self.reduction[1]:
            raise ValueError(
                f"grid {grid} is smaller than the reduction {self.reduction}: nothing is left to attend to"
            )
        reduced, _ = to_tokens(self.reduce(to_map(patches, grid)))
        return join_prefix(prefix, self.norm(reduced))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, reduction={self.reduction}"
