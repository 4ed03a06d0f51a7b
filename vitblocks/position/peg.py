"""Positions from a convolution."""

from __future__ import annotations

from torch import Tensor, nn

from ..grid import Grid, half_kernel, split_prefix, to_map, to_tokens
from ..prefix import join_prefix
from ..registry import part


@part
class PEG(nn.Module):
    """Position encoding generator (CPVT, arXiv:2102.10882, Section 3.3): add a depthwise convolution of the map.

    ``(B, N, dim)`` kept, any ``(H, W)``. Prefix tokens pass by.
    """

    def __init__(self, dim: int, kernel_size: int = 3, *, bias: bool = True) -> None:
        """Raises ValueError for an even ``kernel_size``, which would change the grid."""
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=half_kernel(kernel_size), groups=dim, bias=bias)

    def reset_neutral(self) -> None:
        """No positions."""
        nn.init.zeros_(self.conv.weight)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix, patches = split_prefix(x, grid)
        if patches.shape[1] == 0:
            return x
        update, _ = to_tokens(self.conv(to_map(patches, grid)))
        return join_prefix(prefix, patches + update)
