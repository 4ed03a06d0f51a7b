"""Downsamplers: transitions to a coarser grid."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..grid import Grid, Size, image_grid, require_no_prefix, to_pair
from ..norm import NormFactory, layer_norm
from ..registry import part
from .adaptors import Downsample, PatchConv2d, Remainder


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
        remainder: what becomes of a map that does not divide into patches side by side, see
            :class:`~vitblocks.embed.adaptors.PatchConv2d`.
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
        remainder: Remainder = "refuse",
    ) -> None:
        stride = kernel_size if stride is None else stride
        side_by_side = stride == kernel_size and padding == 0
        conv = (
            PatchConv2d(dim, out_dim, kernel_size, remainder=remainder)
            if side_by_side
            else nn.Conv2d(dim, out_dim, kernel_size, stride, padding)
        )
        super().__init__(conv, norm(out_dim), prefix=prefix)


@part
class PatchMerging(nn.Module):
    """Neighbouring patches side by side in one token, normed and projected (Swin, arXiv:2103.14030, Section 3.1).

    Swin V2 (arXiv:2111.09883) projects first: ``norm=nn.Identity, out_norm=layer_norm(1e-5)``.

    A transition ``(x (B, H*W, dim), grid) -> (x, grid)``. Neighbours are ordered (0, 0), (1, 0), (0, 1), (1, 1) as (row, column), as
    published. A map that does not divide is padded with zeros at the bottom and right, as in the authors' code.

    Args:
        dim, out_dim: channels in and out; ``2 * dim`` if None.
        patch_size: how many patches are merged along each side.
        norm: factory of the norm before the projection, with an epsilon of 1e-5 as published; ``nn.Identity`` for none.
        out_norm: factory of the norm after the projection; ``nn.Identity`` for none.

    Raises:
        ValueError: in ``forward``, with prefix tokens.
    """

    normed: ClassVar = {"norm": "proj"}
    chained: ClassVar = {"proj": "out_norm"}

    def __init__(
        self,
        dim: int,
        out_dim: int | None = None,
        *,
        patch_size: Size = 2,
        norm: NormFactory = layer_norm(1e-5),
        out_norm: NormFactory = nn.Identity,
    ) -> None:
        super().__init__()
        self.stride = to_pair(patch_size, "patch_size")
        width = self.stride[0] * self.stride[1] * dim
        self.norm = norm(width)
        out_dim = 2 * dim if out_dim is None else out_dim
        self.proj = nn.Linear(width, out_dim, bias=False)
        self.out_norm = out_norm(out_dim)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        require_no_prefix(x, grid, "PatchMerging")
        height, width = image_grid(grid, "PatchMerging")
        down, right = self.stride
        image = rearrange(x, "b (h w) c -> b h w c", h=height)
        if height % down or width % right:
            image = F.pad(image, (0, 0, 0, -width % right, 0, -height % down))
        merged = rearrange(image, "b (h p) (w q) c -> b (h w) (q p c)", p=down, q=right)
        return self.out_norm(self.proj(self.norm(merged))), (-(-height // down), -(-width // right))
