"""Parts that XCiT alone uses."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from ...block import TwoBranches
from ...embed import OnMap
from ...feedforward import Activation
from ...grid import Grid, split_prefix
from ...norm import LayerNorm, NormFactory
from ...prefix import join_prefix, require_prefix
from ...registry import part


@part
class NormedClassBlock(TwoBranches):
    """Class block whose norms reach the patches, too, as the authors' code has it (arXiv:2106.09681, Section 3.3).

    Patches have their normed values added in the first half. The second half starts from normed tokens, and adds the patches to themselves.
    Where there is no other block after it, what becomes of patches is of no matter.

    Args:
        norm_patches: whether the second norm is of all tokens, or of the prefix tokens alone.
        dim, attn, mlp, norm, layer_scale, drop_path: see :class:`~vitblocks.block.TwoBranches`; ``attn`` updates prefix tokens.
    """

    serves_prefix = True

    def __init__(
        self,
        dim: int,
        attn: nn.Module,
        mlp: nn.Module,
        *,
        norm_patches: bool = True,
        norm: NormFactory = LayerNorm,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(dim, attn, mlp, norm=norm, layer_scale=layer_scale, drop_path=drop_path)
        self.norm_patches = norm_patches

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        count = require_prefix(x, grid, "NormedClassBlock")
        normed = self.norm1(x)
        x = self.shortcut1(x, join_prefix(self.attn(normed, grid)[:, :count], normed[:, count:]))
        x = self.norm2(x) if self.norm_patches else join_prefix(self.norm2(x[:, :count]), x[:, count:])
        prefix, patches = split_prefix(x, grid)
        update = self.shortcut2.scale(self.mlp(prefix, (0, 0)))
        return x + self.shortcut2.drop_path(join_prefix(update, patches))

    def extra_repr(self) -> str:
        return f"norm_patches={self.norm_patches}"


def local_patch_interaction(dim: int, activation: Activation = nn.GELU) -> OnMap:
    """Two depthwise 3x3 convolutions with activation and BatchNorm between them (Section 3.2)."""
    depthwise = [nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(2)]
    return OnMap(
        nn.Sequential(OrderedDict(conv1=depthwise[0], act=activation(), norm=nn.BatchNorm2d(dim), conv2=depthwise[1]))
    )
