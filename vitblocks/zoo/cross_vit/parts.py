"""CrossViT's own parts: two towers that see an image in patches of two sizes and read one another (arXiv:2103.14899)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn

from ...attention import CrossAttention
from ...embed.adaptors import MapEmbed, check_patches
from ...embed.stem import ConvUnit
from ...grid import Grid, Size, map_size, split_prefix, to_pair
from ...model import Stage
from ...norm import LayerNorm, NormFactory
from ...position.resize import resize_table
from ...prefix import join_prefix, require_prefix
from ...registry import part
from ...residual import Residual

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


@part
class Rescale(nn.Module):
    """Resize an image by a fixed proportion, bicubic without antialiasing: ``(B, C, H, W) -> (B, C, H', W')``.

    What CrossViT's towers do that see the image at a size of their own (arXiv:2103.14899, authors' code). An image of ``image_size``
    becomes one of ``size``; any other is scaled alike, to the nearest size that divides by ``multiple``.

    Args:
        image_size, size: before and after, an int or a (height, width).
        multiple: what the result divides by.

    Raises:
        ValueError: ``size`` does not divide by ``multiple``.
    """

    def __init__(self, image_size: Size, size: Size, *, multiple: Size = 1) -> None:
        super().__init__()
        self.image_size = to_pair(image_size, "image_size")
        self.size = to_pair(size, "size")
        self.multiple = to_pair(multiple, "multiple")
        check_patches(self.size, self.multiple)

    def scaled(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of this one becomes."""
        rows, columns = (
            max((2 * side * after + before * step) // (2 * before * step), 1) * step
            for side, before, after, step in zip(
                (height, width), self.image_size, self.size, self.multiple, strict=True
            )
        )
        return rows, columns

    def forward(self, image: Tensor) -> Tensor:
        return resize_table(image, self.scaled(*map_size(image)))

    def extra_repr(self) -> str:
        return f"image_size={self.image_size}, size={self.size}, multiple={self.multiple}"


@part
class ResizeTo(nn.Module):
    """Resize an image of any size to one size, as :class:`Rescale` interpolates: ``(B, C, H, W) -> (B, C, *size)``.

    What timm's CrossViT does, whose towers see every image at their own size.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = to_pair(size, "size")

    def forward(self, image: Tensor) -> Tensor:
        return resize_table(image, self.size)

    def extra_repr(self) -> str:
        return f"size={self.size}"


# By patch size: the strides after the first convolution of ThreeConvStem, whose stride is 4.
_REMAINING_STRIDES = {12: (3, 1), 16: (2, 2)}


@part
class ThreeConvStem(MapEmbed):
    """Three convolutions in place of a patch embedding (CrossViT-dagger, arXiv:2103.14899, Table 1): ``(B, C, H, W) -> (x, grid)``.

    7x7 with stride 4, then two of 3x3 that make up the rest of the patch, ReLU between them; no norms.

    Args:
        patch_size: pixels of the image per token, 12 or 16, for which the authors give the strides.
        dim: channels of a token; a quarter and a half of it come before.
        channels: channels of the image.

    Raises:
        ValueError: another ``patch_size``, or a ``dim`` that 4 does not divide; in ``forward``, an image that does not divide into patches.
    """

    def __init__(self, patch_size: Size, dim: int, *, channels: int = 3) -> None:
        size = to_pair(patch_size, "patch_size")
        if size[0] != size[1] or size[0] not in _REMAINING_STRIDES:
            raise ValueError(f"patch_size must be 12 or 16, got {patch_size}")
        if dim % 4:
            raise ValueError(f"dim must divide by 4, got {dim}: the first convolution gives a quarter of it")
        second, third = _REMAINING_STRIDES[size[0]]
        super().__init__(
            nn.Sequential(
                ConvUnit(channels, dim // 4, 7, stride=4, activation=nn.ReLU),
                # A stride as large as the kernel needs no padding.
                ConvUnit(dim // 4, dim // 2, 3, stride=second, padding=int(second < 3), activation=nn.ReLU),
                ConvUnit(dim // 2, dim, 3, stride=third),
            )
        )
        self.patch_size = size

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        check_patches(map_size(image), self.patch_size)
        return super().forward(image)
