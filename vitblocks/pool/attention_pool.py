"""Pool by attention of a learned query."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from ..attention.attend import Attend
from ..attention.base import CrossAttention
from ..grid import Grid
from ..norm import LayerNorm, NormFactory
from ..registry import part

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class AttentionPool(CrossAttention):
    """A learned probe attends to all tokens (the MAP head of arXiv:2106.04560, Section 2; arXiv:1810.00825): ``(B, N, C) -> (B, C)``.

    Prefix tokens are ordinary tokens.

    Args:
        dim, heads: as for an attention.
        mlp: a finished layer ``(x, grid) -> x`` added to the pooled token as a pre-norm residual branch, or None.
        norm: factory of that branch's norm.
        head_dim, qkv_bias, attend, dropout: see :class:`~vitblocks.attention.CrossAttention`.
    """

    is_layer = False
    normed: ClassVar = {"norm": "mlp"}

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        mlp: nn.Module | None = None,
        norm: NormFactory = LayerNorm,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        attend: Attend | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, head_dim=head_dim, qkv_bias=qkv_bias, attend=attend, dropout=dropout)
        self.probe = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.trunc_normal_(self.probe, std=0.02)
        self.norm = None if mlp is None else norm(dim)
        self.mlp = mlp

    @torch.no_grad()
    def reset_neutral(self) -> None:
        """The mean of all tokens, where values and outputs can be the tokens: ``heads * head_dim`` is ``dim``, ``proj`` a Linear."""
        if self.heads * self.head_dim != self.dim or not isinstance(self.proj, nn.Linear):
            return
        nn.init.zeros_(self.probe)
        nn.init.eye_(self.kv.weight[-self.dim :])
        nn.init.eye_(self.proj.weight)
        for bias in (self.q.bias, self.kv.bias, self.proj.bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def places(self, call: Call) -> Pair:
        return call.on((0, 0), 1), call.first(call.tokens)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        pooled = self.cross(self.probe.expand(x.shape[0], -1, -1), x)
        if self.mlp is not None and self.norm is not None:
            pooled = pooled + self.mlp(self.norm(pooled), (0, 0))
        return pooled[:, 0]
