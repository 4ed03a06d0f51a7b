"""Transformer blocks: two residual branches each, put together in the ways that papers do.

A block gets finished parts. ``attn`` and ``mlp`` are any layers ``(x, grid) -> x``; ``norm`` is a factory ``dim -> module``.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from .grid import Grid, split_prefix
from .norm import LayerNorm, NormFactory
from .prefix import join_prefix, require_prefix
from .registry import part
from .residual import Shortcut


class TwoBranches(nn.Module):
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
class Block(TwoBranches):
    """Pre-norm block (ViT, arXiv:2010.11929, eqs. 2 and 3): mix tokens, then mix channels."""

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}

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
