"""CrossFormer's own parts (arXiv:2108.00154)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...attention.windows import DilatedWindows
from ...embed.adaptors import sliding_grid
from ...grid import Grid, Size, image_grid, map_size, to_pair
from ...registry import part


@part
class CrossScaleConv(nn.Module):
    """Convolutions of several kernel sizes with one stride, concatenated (CrossFormer, arXiv:2108.00154, Section 3.1).

    ``(B, C, H, W) -> (B, dim, H // stride, W // stride)``. The smallest kernel gets half of ``dim``, the next a quarter and so on, the last
    what is left. With :class:`MapEmbed` it embeds an image, with :class:`Downsample` it merges patches.

    Args:
        channels: channels in.
        dim: channels out.
        kernel_sizes: from small to large; the authors' are 4, 8, 16, 32 for an image and 2, 4 between stages.
        stride: of every convolution.

    Raises:
        ValueError: a kernel smaller than the stride or of other parity; in ``forward``, a map smaller than ``stride``.
    """

    def __init__(
        self, channels: int, dim: int, kernel_sizes: Sequence[int] = (4, 8, 16, 32), *, stride: int = 4
    ) -> None:
        super().__init__()
        if not kernel_sizes or any(k < stride or (k - stride) % 2 for k in kernel_sizes):
            raise ValueError(f"kernel_sizes must exceed the stride {stride} by even numbers, got {tuple(kernel_sizes)}")
        self.stride = to_pair(stride, "stride")
        widths = [dim // 2 ** (i + 1) for i in range(len(kernel_sizes) - 1)]
        widths.append(dim - sum(widths))
        if min(widths) < 1:
            raise ValueError(f"dim must be at least {2 ** (len(widths) - 1)} for {len(widths)} kernels, got {dim}")
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, width, kernel, stride, (kernel - stride) // 2)
            for width, kernel in zip(widths, kernel_sizes, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        sliding_grid(map_size(image), self.stride, self.stride)
        return torch.cat([conv(image) for conv in self.convs], dim=1)


@part
@dataclass(frozen=True)
class LongDistanceWindows(DilatedWindows):
    """CrossFormer's long distance groups (arXiv:2108.00154, Section 3.2), as the authors' code chooses them.

    :class:`DilatedWindows`; but windows side by side on a map with a side no longer than the window, where a group already spans the map
    and distance would only scatter it.
    """

    size: Size = 7

    def lengths(self, grid: Grid) -> dict[str, int]:
        height, width = image_grid(grid, "long distance windows")
        rows, columns = to_pair(self.size)
        small = height <= rows or width <= columns
        return DilatedWindows(self.size, 1 if small else self.dilation).lengths(grid)
