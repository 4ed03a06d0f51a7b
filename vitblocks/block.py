"""Transformer blocks: two residual branches each, put together in the ways that papers do.

A block gets finished parts. ``attn`` and ``mlp`` are any layers ``(x, grid) -> x``; ``norm`` is a factory ``dim -> module``.
"""

from __future__ import annotations

from torch import Tensor, nn

from .grid import Grid, split_prefix
from .norm import LayerNorm, NormFactory
from .prefix import join_prefix, require_prefix
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


class Block(_Branches):
    """Pre-norm block (ViT, arXiv:2010.11929, eqs. 2 and 3): mix tokens, then mix channels."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(x, self.mlp(self.norm2(x), grid))


class PostNormBlock(_Branches):
    """Post-norm block (arXiv:1706.03762, Section 3.1): the norm comes after each residual sum."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        x = self.norm1(self.shortcut1(x, self.attn(x, grid)))
        return self.norm2(self.shortcut2(x, self.mlp(x, grid)))


class ParallelBlock(_Branches):
    """Both branches read the same input and are added together (arXiv:2203.09795, Section 3, eq. 2)."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        mixed = self.shortcut1(x, self.attn(self.norm1(x), grid))
        return self.shortcut2(mixed, self.mlp(self.norm2(x), grid))


class ClassBlock(_Branches):
    """Only the prefix tokens are updated; patches are read and passed on (CaiT, arXiv:2103.17239, Section 2.2).

    The norm before attention sees all tokens, the feed-forward and its norm the prefix tokens alone.
    """

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        require_prefix(x, grid, "ClassBlock")
        prefix, patches = split_prefix(x, grid)
        update = self.attn(self.norm1(x), grid)[:, : prefix.shape[1]]
        prefix = self.shortcut1(prefix, update)
        prefix = self.shortcut2(prefix, self.mlp(self.norm2(prefix), (0, 0)))
        return join_prefix(prefix, patches)
