"""Downsamplers: transitions to a coarser grid."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, map_size, require_no_prefix, to_pair
from ..norm import LayerNorm, MapNorm, NormFactory, layer_norm
from ..registry import part
from .adaptors import Downsample, PatchConv2d, check_patches


@part
class ConvDownsample(Downsample):
    """Downsample with one convolution, then a norm (Twins, arXiv:2104.13840; CvT, arXiv:2103.15808): ``(x, grid) -> (x, grid)``.

    Args:
        dim, out_dim: channels in and out.
        kernel_size: of the convolution.
        stride: ``kernel_size`` if None, for patches side by side.
        padding: zeros around the map.
        norm: factory of the norm on the patches that come out, with an epsilon of 1e-5 as published.
        prefix: a finished module for prefix tokens; with None they are refused.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        kernel_size: int = 2,
        *,
        stride: int | None = None,
        padding: int = 0,
        norm: NormFactory = layer_norm(1e-5),
        prefix: nn.Module | None = None,
    ) -> None:
        stride = kernel_size if stride is None else stride
        side_by_side = stride == kernel_size and padding == 0
        conv = (
            PatchConv2d(dim, out_dim, kernel_size)
            if side_by_side
            else nn.Conv2d(dim, out_dim, kernel_size, stride, padding)
        )
        super().__init__(conv, norm(out_dim), prefix=prefix)


@part
class PoolingDownsample(Downsample):
    """Depthwise convolution for patches, a Linear for prefix tokens (PiT, arXiv:2103.16302, Section 3.1): ``(x, grid) -> (x, grid)``.

    Args:
        dim, out_dim: channels in and out; each channel becomes ``out_dim / dim``.
        stride: of the convolution, whose kernel is ``stride + 1`` with a padding of ``stride // 2``.
    """

    def __init__(self, dim: int, out_dim: int, *, stride: int = 2) -> None:
        """Raises ValueError unless ``dim`` divides ``out_dim``."""
        if out_dim % dim:
            raise ValueError(f"out_dim must be a multiple of dim {dim}, got {out_dim}: every channel becomes several")
        conv = nn.Conv2d(dim, out_dim, stride + 1, stride, stride // 2, groups=dim)
        super().__init__(conv, prefix=nn.Linear(dim, out_dim))


@part
class SameMaxPool2d(nn.Module):
    """Max-pooling padded as little as gives ``ceil(size / stride)``, more at the bottom and right (TensorFlow's SAME): map to map."""

    def __init__(self, kernel_size: int = 3, stride: int = 2) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = (
            max((-(-side // self.stride) - 1) * self.stride + self.kernel_size - side, 0) for side in map_size(image)
        )
        margins = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return F.max_pool2d(F.pad(image, margins, value=float("-inf")), self.kernel_size, self.stride)


@part
class BlockAggregation(Downsample):
    """Convolution, norm over channels, max-pooling (NesT, arXiv:2105.12723, Section 3.1): ``(x, grid) -> (x, grid)`` at half the size.

    Args:
        dim, out_dim: channels in and out.
        norm: factory.
        pool: the pooling, a finished map -> map module; :class:`SameMaxPool2d` of 3x3 with stride 2 if None, as the authors' code has it.
    """

    def __init__(self, dim: int, out_dim: int, *, norm: NormFactory = LayerNorm, pool: nn.Module | None = None) -> None:
        pool = SameMaxPool2d(3, 2) if pool is None else pool
        super().__init__(nn.Sequential(nn.Conv2d(dim, out_dim, 3, padding=1), MapNorm(norm(out_dim)), pool))


@part
class PatchMerging(nn.Module):
    """Neighbouring patches side by side in one token, normed and projected (Swin, arXiv:2103.14030, Section 3.1).

    A transition ``(x (B, H*W, dim), grid) -> (x, grid)``. Neighbours are ordered (0, 0), (1, 0), (0, 1), (1, 1) as (row, column), as
    published.

    Args:
        dim, out_dim: channels in and out; ``2 * dim`` if None.
        patch_size: how many patches are merged along each side.
        norm: factory of the norm before the projection, with an epsilon of 1e-5 as published.

    Raises:
        ValueError: in ``forward``, with prefix tokens, or for a grid that does not divide.
    """

    normed: ClassVar = {"norm": "proj"}

    def __init__(
        self, dim: int, out_dim: int | None = None, *, patch_size: Size = 2, norm: NormFactory = layer_norm(1e-5)
    ) -> None:
        super().__init__()
        self.stride = to_pair(patch_size, "patch_size")
        width = self.stride[0] * self.stride[1] * dim
        self.norm = norm(width)
        self.proj = nn.Linear(width, 2 * dim if out_dim is None else out_dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "PatchMerging")
        height, width = image_grid(grid, "PatchMerging")
        down, right = self.stride
        check_patches((height, width), self.stride)
        coarse = (height // down, width // right)
        merged = rearrange(x, "b (h p w q) c -> b (h w) (q p c)", h=coarse[0], p=down, w=coarse[1], q=right)
        return self.proj(self.norm(merged)), coarse
