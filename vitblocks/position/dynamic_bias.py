"""A bias of the logits computed from the offset by a small network, for grids of any size."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from ..grid import Grid, image_grid
from ..norm import NormFactory, layer_norm
from ..registry import part
from .relative_bias import pad_prefix, pairwise


@part
class DynamicBias(nn.Module):
    """Dynamic position bias (CrossFormer, arXiv:2108.00154, Section 3.3, eq. 3): an MLP from (row, column) offset to a bias per head.

    Called as ``position_bias(grid, prefix) -> (heads, prefix + H*W, prefix + H*W)``. Linear, then three times norm, ReLU, Linear, without
    residual. Pairs with a prefix token have no bias.

    Args:
        heads: attention heads.
        mlp_dim: hidden width; the paper takes a quarter of the embedding, the authors' code a sixteenth.
        norm: factory of the norms, with an epsilon of 1e-5 as published.
    """

    def __init__(self, heads: int, mlp_dim: int, *, norm: NormFactory = layer_norm(1e-5)) -> None:
        super().__init__()
        self.heads = heads
        widths = (mlp_dim, mlp_dim, mlp_dim, heads)
        self.fc = nn.Linear(2, mlp_dim)
        self.layers = nn.ModuleList(
            nn.Sequential(norm(mlp_dim), nn.ReLU(), nn.Linear(mlp_dim, width)) for width in widths[1:]
        )

    def reset_neutral(self) -> None:
        """No bias at all."""
        *_, last = (layer for layer in self.layers.modules() if isinstance(layer, nn.Linear))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def offsets(self, grid: tuple[int, int]) -> Tensor:
        """The bias of every offset: ``(heads, 2H-1, 2W-1)``."""
        like = self.fc.weight
        rows, columns = (torch.arange(1 - side, side, device=like.device, dtype=like.dtype) for side in grid)
        x = self.fc(torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1))
        for layer in self.layers:
            x = layer(x)
        return rearrange(x, "h w heads -> heads h w")

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        size = image_grid(grid, "DynamicBias")
        if size == (0, 0):
            return self.fc.weight.new_zeros(self.heads, prefix, prefix)
        return pad_prefix(pairwise(self.offsets(size)), prefix)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"
