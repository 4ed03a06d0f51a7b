"""Transformer blocks: two residual branches each, put together in the ways that papers do.

A block gets finished parts. ``attn`` and ``mlp`` are any layers ``(x, grid) -> x``; ``norm`` is a factory ``dim -> module``.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from .contract import made, require_layer
from .grid import Grid, split_prefix
from .norm import LayerNorm, NormFactory
from .prefix import join_prefix, require_prefix
from .registry import part
from .residual import Shortcut


class TwoBranches(nn.Module):
    """The parts that every two-branch block holds, under the same names.

    Args:
        dim: channels.
        attn, mlp: layers ``(x, grid) -> x`` that keep the shape.
        norm: factory ``dim -> module`` of each norm.
        layer_scale, drop_path: see :class:`~vitblocks.Shortcut`.

    Raises:
        TypeError: ``attn`` or ``mlp`` is no layer, or ``norm`` no factory.
    """

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
        require_layer(attn, "attn")
        require_layer(mlp, "mlp")
        self.norm1 = made(norm, dim, "norm")
        self.attn = attn
        self.shortcut1 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)
        self.norm2 = made(norm, dim, "norm")
        self.mlp = mlp
        self.shortcut2 = Shortcut(dim, layer_scale=layer_scale, drop_path=drop_path)


@part
class Block(TwoBranches):
    """Pre-norm block (ViT, arXiv:2010.11929, eqs. 2 and 3): mix tokens, then mix channels."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}
    residuals = (("norm1", "attn", "shortcut1"), ("norm2", "mlp", "shortcut2"))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(x, self.mlp(self.norm2(x), grid))


@part
class PostNormBlock(TwoBranches):
    """Post-norm block (arXiv:1706.03762, Section 3.1): the norm comes after each residual sum."""

    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.norm1(self.shortcut1(x, self.attn(x, grid)))
        return self.norm2(self.shortcut2(x, self.mlp(x, grid)))


@part
class ResidualPostNormBlock(TwoBranches):
    """Residual post-norm block (Swin V2, arXiv:2111.09883, Section 3.2): each branch is normed where it joins the main one."""

    shortcuts: ClassVar = {"shortcut1": "norm1", "shortcut2": "norm2"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.shortcut1(x, self.norm1(self.attn(x, grid)))
        return self.shortcut2(x, self.norm2(self.mlp(x, grid)))


@part
class ParallelBlock(TwoBranches):
    """Both branches read the same input and are added together (arXiv:2203.09795, Section 3, eq. 2)."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        mixed = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(mixed, self.mlp(self.norm2(x), grid))


@part
class ClassBlock(TwoBranches):
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
class Chain(nn.Module):
    """Layers one after the other as one layer, under the names they are given: ``Chain(attn=Residual(...), mlp=Residual(...))``.

    For blocks that are no :class:`Block`: with an attention inside it counts as one block. Raises TypeError where one is no layer.
    """

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            require_layer(layer, name)
            self.add_module(name, layer)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        for layer in self.children():
            x = layer(x, grid)
        return x
