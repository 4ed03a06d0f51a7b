"""No attention where one stood."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..grid import Grid
from ..registry import part


@part
class NoMixing(nn.Module):
    """In the place of an attention that is left out: ``(B, N, dim)`` as zeros, so that its shortcut alone is left; any grid."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return torch.zeros_like(x)
