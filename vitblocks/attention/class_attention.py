"""Class attention: the prefix tokens alone ask, all tokens answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ..grid import Grid
from ..prefix import join_prefix, require_prefix
from ..registry import part
from .base import ONE, CrossAttention

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class ClassAttention(CrossAttention):
    """Attention of the prefix tokens to all tokens (CaiT, arXiv:2103.17239, Section 2.2, eqs. 5 to 7): ``(B, N, dim) -> (B, N, dim)``.

    The only tokens updated are the prefix ones; for patches the update is zero. CrossViT's fusion (arXiv:2103.14899, eq. 3) is the same
    attention on one branch's class token and the other's patches. Arguments: see :class:`~vitblocks.attention.CrossAttention`.

    Raises:
        ValueError: in ``forward``, where there is no prefix token.
    """

    reads = ("q", "kv")
    writes = "proj"
    separable = ("kv",)
    steps = ONE

    def places(self, call: Call) -> Pair:
        return call.first(call.prefix), call.first(call.tokens)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix = require_prefix(x, grid, "ClassAttention")
        bias = self.bias(grid, prefix)
        update = self.cross(x[:, :prefix], x, None if bias is None else bias[:, :prefix])
        patches = x.new_zeros(x.shape[0], x.shape[1] - prefix, x.shape[2])
        return join_prefix(update.to(x.dtype), patches)
