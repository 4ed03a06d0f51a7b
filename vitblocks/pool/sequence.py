"""Pool by a learned weighting of the tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..grid import Grid
from ..registry import part


@part
class SequencePool(nn.Module):
    """Weigh all tokens by a softmax of one learned logit each (CCT, arXiv:2104.05704, Section 3.3, eqs. 3 to 5): ``(B, N, C) -> (B, C)``.

    Prefix tokens are ordinary tokens.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.logit = nn.Linear(dim, 1)

    def reset_neutral(self) -> None:
        """The mean of all tokens."""
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def weights(self, x: Tensor) -> Tensor:
        """The share of each token: ``(B, N)``."""
        return self.logit(x)[..., 0].softmax(dim=1)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return torch.einsum("b n, b n c -> b c", self.weights(x), x)
