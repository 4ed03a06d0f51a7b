"""A projection to queries, keys and values whose keys have no bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..registry import part


@part
class QVBiasLinear(nn.Module):
    """A Linear to [queries | keys | values] with a bias of queries and one of values: ``(..., dim) -> (..., sum of widths)``.

    Softmax does not see a bias of the keys, so BEiT (authors' code of arXiv:2106.08254), EVA and Swin V2 have none; under cosine attention
    it would count. For :class:`~vitblocks.attention.SelfAttention`'s ``qkv``.

    Args:
        dim: channels in.
        widths: channels of all heads' queries, keys and values; three times ``dim`` if None.
    """

    undecayed = ("q_bias", "v_bias")

    def __init__(self, dim: int, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        q, k, v = (dim, dim, dim) if widths is None else widths
        self.linear = nn.Linear(dim, q + k + v, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(q))
        self.v_bias = nn.Parameter(torch.zeros(v))

    @property
    def bias(self) -> Tensor:
        """Of all three, zero for the keys."""
        keys = self.linear.out_features - len(self.q_bias) - len(self.v_bias)
        return torch.cat([self.q_bias, self.q_bias.new_zeros(keys), self.v_bias])

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.bias

    @torch.no_grad()
    def to_linear(self) -> nn.Linear:
        """A Linear that gives the same, whose bias can be anything."""
        weight = self.linear.weight
        linear = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
        linear.weight.copy_(weight)
        assert linear.bias is not None
        linear.bias.copy_(self.bias)
        return linear
