"""Soft split: overlapping patches of an image or of a map of tokens, laid end to end."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..grid import Grid, Size, map_size, require_no_prefix, to_map, to_pair
from ..registry import part
from .adaptors import check_image, sliding_grid


class _Unfold(nn.Module):
    def __init__(self, kernel_size: Size, stride: Size, padding: Size | None = None) -> None:
        """``padding`` is half of what kernel and stride overlap by, rounded up, if None (2 for 7/4, 1 for 3/2)."""
        super().__init__()
        self.kernel_size = to_pair(kernel_size, "kernel_size")
        self.stride = to_pair(stride, "stride")
        half = tuple(max(-(-(k - s) // 2), 0) for k, s in zip(self.kernel_size, self.stride, strict=True))
        self.padding = (half[0], half[1]) if padding is None else to_pair(padding, "padding", minimum=0)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """The grid that a map of this (height, width) is split into. Raises ValueError if it is smaller than the kernel."""
        return sliding_grid(size, self.kernel_size, self.stride, self.padding)

    def unfold(self, image: Tensor) -> tuple[Tensor, Grid]:
        grid = self.grid(map_size(image))
        tokens = F.unfold(image, self.kernel_size, padding=self.padding, stride=self.stride)
        return rearrange(tokens, "b c n -> b n c"), grid

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


@part
class UnfoldEmbed(_Unfold):
    """Soft split of an image (T2T-ViT, arXiv:2101.11986, Section 3.1, eq. 3): ``(B, C, H, W) -> (x (B, N, C * kernel area), grid)``.

    The channels of a token are ordered (channel, row, column), the column fastest.

    Raises:
        ValueError: in ``forward``, for an image smaller than the kernel.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        check_image(image)
        return self.unfold(image)


@part
class Unfold(_Unfold):
    """Soft split of a map of tokens (T2T-ViT, arXiv:2101.11986, Section 3.1): a transition ``(x, grid) -> (x, grid)``.

    Channels grow by the kernel's area, ordered (channel, row, column). Raises ValueError in ``forward`` with prefix tokens.
    """

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "Unfold")
        return self.unfold(to_map(x, grid))
