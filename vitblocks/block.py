"""Transformer blocks: two residual branches each, put together in the ways that papers do.

A block gets finished parts. ``attn`` and ``mlp`` are any layers ``(x, grid) -> x``; ``norm`` is a factory ``dim -> module``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from .embed.stem import ConvUnit
from .grid import Grid, num_prefix, require_no_prefix, split_prefix, to_map, to_tokens
from .norm import LayerNorm, NormFactory
from .prefix import join_prefix, require_prefix
from .registry import part
from .residual import Shortcut


class _Branches(nn.Module):
    """The parts that every two-branch block holds, under the same names."""

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.attn = attn
        self.shortcut1 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)
        self.norm2 = norm(dim)
        self.mlp = mlp
        self.shortcut2 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)


@part
class Block(_Branches):
    """Pre-norm block (ViT, arXiv:2010.11929, eqs. 2 and 3): mix tokens, then mix channels."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(x, self.mlp(self.norm2(x), grid))


@part
class PostNormBlock(_Branches):
    """Post-norm block (arXiv:1706.03762, Section 3.1): the norm comes after each residual sum."""

    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.norm1(self.shortcut1(x, self.attn(x, grid)))
        return self.norm2(self.shortcut2(x, self.mlp(x, grid)))


@part
class ParallelBlock(_Branches):
    """Both branches read the same input and are added together (arXiv:2203.09795, Section 3, eq. 2)."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        mixed = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(mixed, self.mlp(self.norm2(x), grid))


@part
class ClassBlock(_Branches):
    """Only the prefix tokens are updated; patches are read and passed on (CaiT, arXiv:2103.17239, Section 2.2).

    The norm before attention sees all tokens, the feed-forward and its norm the prefix tokens alone.
    """

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "ClassBlock")
        prefix, patches = split_prefix(x, grid)
        update = self.attn(self.norm1(x), grid)[:, : prefix.shape[1]]
        prefix = self.shortcut1(prefix, update)
        prefix = self.shortcut2(prefix, self.mlp(self.norm2(prefix), (0, 0)))
        return join_prefix(prefix, patches)


@part
class CompactBlock(_Branches):
    """Pre-norm attention, then a feed-forward whose residual starts from the normed tokens (CCT, arXiv:2104.05704, authors' code)."""

    # What the second norm gives is also where the residual starts.
    normed: ClassVar = {"norm1": "attn"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.norm2(self.shortcut1(x, self.attn(self.norm1(x), grid)))
        return self.shortcut2(x, self.mlp(x, grid))


@part
class RegionalBlock(_Branches):
    """Regional tokens attend to one another, then every token within its region, with one attention (RegionViT, arXiv:2106.02689).

    The regional self-attention calls ``attn`` on the grid ``(0, 0)``, with a norm and a residual branch of its own.

    Args:
        regions: how many of the first tokens are regional, from ``(x, grid)``: all prefix tokens, unless some of them are others.
        others: as for every block.

    Raises:
        ValueError: in ``forward``, where there are no prefix tokens.
    """

    # The attention is called after two norms.
    normed: ClassVar = {"norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut2": "mlp"}

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        regions: Callable[[Tensor, Grid], int] = num_prefix,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dim, attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.regions = regions
        self.norm0 = norm(dim)
        self.shortcut0 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "RegionalBlock")
        count = self.regions(x, grid)
        regional, others = x.split([count, x.shape[1] - count], dim=1)
        regional = self.shortcut0(regional, self.attn(self.norm0(regional), (0, 0)))
        x = torch.cat([regional, others], dim=1)
        x = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(x, self.mlp(self.norm2(x), grid))


@part
class RescaledBlock(_Branches):
    """Pre-norm block whose branches read ``scale * x`` and are divided by ``scale`` (DeepViT, arXiv:2103.11886, authors' code)."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    scaled_by = "scale"

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        scale: float,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        """Raises ValueError unless ``scale`` is positive."""
        super().__init__(dim, attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}")
        self.scale = scale

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.shortcut1(x, self.attn(self.norm1(x * self.scale), grid) / self.scale)
        return self.shortcut2(x, self.mlp(self.norm2(x * self.scale), grid) / self.scale)

    def unscaled(self) -> Block:
        """A plain block of the same parts, which is this one with a scale of 1."""
        block = Block(1, self.attn, self.mlp)
        for name, child in self.named_children():
            setattr(block, name, child)
        return block

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


@part
class Chain(nn.Module):
    """Layers one after the other as one layer, under the names they are given: ``Chain(attn=Residual(...), mlp=Residual(...))``.

    For blocks that are no :class:`Block`: with an attention inside it counts as one block.
    """

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        for layer in self.children():
            x = layer(x, grid)
        return x


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
        ValueError: in ``forward``, with prefix tokens.
    """

    def __init__(
        self, dim: int, inner_dim: int, inner: nn.Module, *, out_dim: int | None = None, kernel_size: int = 3
    ) -> None:
        super().__init__()
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
