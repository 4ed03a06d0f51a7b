"""Norms of queries and keys."""

from __future__ import annotations

from torch import Tensor, nn

from ..norm import LayerNorm, NormFactory
from ..registry import part


@part
class QKNorm(nn.Module):
    """Norm queries and keys, of each head by itself, so that logits stay small (ViT-22B, arXiv:2302.05442, Section 2).

    Called as ``qk_norm(q, k) -> (q, k)`` on ``(..., heads, n, head_dim)``.
    :class:`~vitblocks.attention.SelfAttention` makes one of its ``qk_norm``.

    Args:
        head_dim: channels of a query or key.
        norm: factory of both norms.
    """

    def __init__(self, head_dim: int, norm: NormFactory = LayerNorm) -> None:
        super().__init__()
        self.q = norm(head_dim)
        self.k = norm(head_dim)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Raises ValueError for other channels than ``head_dim``, where the norms do."""
        return self.q(q), self.k(k)
