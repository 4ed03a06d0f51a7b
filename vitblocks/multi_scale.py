"""Two towers that see an image in patches of two sizes and read one another through their class tokens (CrossViT, arXiv:2103.14899)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn

from .attention import CrossAttention
from .grid import Grid, split_prefix
from .model import Stage
from .norm import LayerNorm, NormFactory
from .prefix import join_prefix, require_prefix
from .registry import part
from .residual import Residual

Branch: TypeAlias = tuple[Tensor, Grid]
"""The tokens of one tower and their grid."""


@part
class ClassFusion(nn.Module):
    """A tower's prefix tokens read the other tower's patches and come back (CrossViT, arXiv:2103.14899, Section 3.3, Figure 4).

    Called as ``fusion((x, grid), (other, other_grid)) -> (x, grid)``. The prefix tokens are projected to the other's width, attend to the
    other's patches and themselves, and are projected back in place of what they were: the residual is around the attention alone, and
    starts from the projected tokens. Both projections are norm, GELU, Linear. There is no feed-forward.

    Args:
        dim, other_dim: channels of this tower and of the other.
        rounds: attentions of ``other_dim`` channels that update prefix tokens alone (:class:`~vitblocks.attention.ClassAttention`),
            each a residual branch.
        norm: factory of all norms.
        drop_path: rate at which an attention is skipped.

    Raises:
        ValueError: there is no attention; in ``forward``, where there are no prefix tokens.
    """

    def __init__(
        self,
        dim: int,
        other_dim: int,
        rounds: Sequence[CrossAttention],
        *,
        norm: NormFactory = LayerNorm,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if not rounds:
            raise ValueError("rounds must hold at least one attention")
        self.project = nn.Sequential(norm(dim), nn.GELU(), nn.Linear(dim, other_dim))
        self.rounds = nn.ModuleList(Residual(other_dim, attn, norm=norm, drop_path=drop_path) for attn in rounds)
        self.revert = nn.Sequential(norm(other_dim), nn.GELU(), nn.Linear(other_dim, dim))

    def forward(self, own: Branch, other: Branch) -> Branch:
        (x, grid), (other_x, other_grid) = own, other
        count = require_prefix(x, grid, "ClassFusion")
        prefix, patches = split_prefix(x, grid)
        y = join_prefix(self.project(prefix), split_prefix(other_x, other_grid)[1])
        for attend in self.rounds:
            y = attend(y, other_grid)
        return join_prefix(self.revert(y[:, :count]), patches), grid


@part
class MultiScaleBlock(nn.Module):
    """Layers in each tower, then both fusions at once (CrossViT, arXiv:2103.14899, Section 3.2, Figure 2).

    Called as ``block((x, grid), (x, grid)) -> ((x, grid), (x, grid))``, the small patches first. Each fusion reads the other tower's
    tokens as they were before any fusion.

    Args:
        small, large: the layers of each tower.
        small_fusion, large_fusion: what updates the small tower's tokens by the large one's, and the other way round.
    """

    def __init__(
        self,
        small: Sequence[nn.Module],
        large: Sequence[nn.Module],
        small_fusion: nn.Module,
        large_fusion: nn.Module,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleList([Stage(small), Stage(large)])
        self.fusions = nn.ModuleList([small_fusion, large_fusion])

    def forward(self, small: Branch, large: Branch) -> tuple[Branch, Branch]:
        small, large = self.towers[0](*small), self.towers[1](*large)
        return self.fusions[0](small, large), self.fusions[1](large, small)
