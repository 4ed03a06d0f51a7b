"""MobileViT's own parts: transformers among pixels that lie alike in their patches, between convolutions (arXiv:2110.02178)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ...attention.windows import DilatedWindows, round_up
from ...contract import listed, require_layer
from ...embed.stem import ConvUnit
from ...grid import Grid, Size, image_grid, require_no_prefix, to_map, to_pair, to_tokens
from ...registry import part
from .layouts import FUSION_LAYOUTS


@part
class ResizeToMultiple(nn.Module):
    """Run a layer on the map resized up to a multiple of ``multiple``, and resize what it gives back (MobileViT, authors' code).

    ``(B, H*W, C) -> (B, H*W, C)``, bilinear; a map that is a multiple goes straight through. Raises ValueError in ``forward`` with prefix
    tokens, where it resizes.
    """

    def __init__(self, layer: nn.Module, multiple: Size = 2) -> None:
        super().__init__()
        self.layer = layer
        self.multiple = to_pair(multiple, "multiple")

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        size = image_grid(grid, "ResizeToMultiple")
        larger = (round_up(size[0], self.multiple[0]), round_up(size[1], self.multiple[1]))
        if larger == size:
            return self.layer(x, grid)
        require_no_prefix(x, grid, "ResizeToMultiple")
        resized, _ = to_tokens(_resize(to_map(x, grid), larger))
        back, _ = to_tokens(_resize(to_map(self.layer(resized, larger), larger), size))
        return back

    def extra_repr(self) -> str:
        return f"multiple={self.multiple}"


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


@part
class Interleaved(nn.Module):
    """Run layers on each of the ``dilation ** 2`` sub-grids, folded into the batch (MobileViT, arXiv:2110.02178, Section 3.1, eq. 1).

    ``(B, H*W, C) -> (B, H*W, C)``; the layers are called with the sub-grid as their grid.

    Args:
        layers: any layers ``(x, grid) -> x``.
        dilation: rows and columns between two tokens of a sub-grid.

    Raises:
        ValueError: in ``forward``, with prefix tokens, or where ``dilation`` does not divide the grid.
    """

    def __init__(self, layers: Sequence[nn.Module], dilation: Size = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(listed(layers, "layers"))
        self.dilation = to_pair(dilation, "dilation")
        self.subgrids = DilatedWindows(None, self.dilation)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_no_prefix(x, grid, "Interleaved")
        height, width = image_grid(grid, "Interleaved")
        down, right = self.dilation
        if height % down or width % right:
            raise ValueError(
                f"grid {grid} does not divide into sub-grids {self.dilation} apart; resize the map to a multiple"
            )
        subgrid = (height // down, width // right)
        x = rearrange(self.subgrids.split(x, grid), "b g n c -> (b g) n c")
        for layer in self.layers:
            x = layer(x, subgrid)
        return self.subgrids.join(rearrange(x, "(b g) n c -> b g n c", g=down * right), grid)

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"


@part
class ConvFusion(nn.Module):
    """A layer between convolutions, fused with what came in (the MobileViT block, arXiv:2110.02178, Section 3.1, Figure 1b).

    ``(B, H*W, dim) -> (B, H*W, out_dim)``: a convolution and a projection to ``inner_dim``, the layer, a projection back, and a
    convolution over the block's input beside it. Every convolution but the first projection has BatchNorm and SiLU.

    Args:
        dim: channels in.
        inner_dim: channels of the layer.
        inner: any layer ``(x, grid) -> x`` of ``inner_dim`` channels.
        out_dim: channels out; ``dim`` if None.
        kernel_size: of the first and the last convolution.

    Raises:
        TypeError: ``inner`` is no layer.
        ValueError: in ``forward``, with prefix tokens.
    """

    layouts = FUSION_LAYOUTS

    def __init__(
        self, dim: int, inner_dim: int, inner: nn.Module, *, out_dim: int | None = None, kernel_size: int = 3
    ) -> None:
        super().__init__()
        require_layer(inner, "inner")
        unit = partial(ConvUnit, bias=False, norm=nn.BatchNorm2d, activation=nn.SiLU)
        self.local = unit(dim, dim, kernel_size)
        self.expand = nn.Conv2d(dim, inner_dim, 1, bias=False)
        self.inner = inner
        self.project = unit(inner_dim, dim, 1)
        self.fuse = unit(2 * dim, dim if out_dim is None else out_dim, kernel_size)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_no_prefix(x, grid, "ConvFusion")
        image = to_map(x, grid)
        inner, _ = to_tokens(self.expand(self.local(image)))
        projected = self.project(to_map(self.inner(inner, grid), grid))
        fused, _ = to_tokens(self.fuse(torch.cat([image, projected], dim=1)))
        return fused
