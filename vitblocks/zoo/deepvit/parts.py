"""DeepViT's own parts (arXiv:2103.11886)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from ...block import Block, TwoBranches
from ...embed.adaptors import MapEmbed, PatchConv2d, check_patches
from ...embed.stem import ConvUnit
from ...grid import Grid, map_size
from ...norm import LayerNorm, NormFactory
from ...registry import part


@part
class PatchStem(MapEmbed):
    """Two convolutions at half size, then patches (DeepViT's stem, arXiv:2103.11886, authors' code): ``(B, C, H, W) -> (x, grid)``.

    7x7 with stride 2 and 3x3, each with BatchNorm and ReLU, then a convolution over patches of half ``patch_size``. Odd sides count as
    the next even ones.

    Args:
        patch_size: pixels of the image per token, even.
        dim: channels of a token.
        width: channels in between.
        channels: channels of the image.

    Raises:
        ValueError: in ``forward``, for an image that does not divide into patches.
    """

    def __init__(self, patch_size: int, dim: int, *, width: int = 64, channels: int = 3) -> None:
        """Raises ValueError for an odd ``patch_size``."""
        if patch_size % 2:
            raise ValueError(f"patch_size must be even, got {patch_size}: the stem halves the image before the patches")
        super().__init__(
            nn.Sequential(
                ConvUnit(channels, width, 7, stride=2, bias=False, norm=nn.BatchNorm2d, activation=nn.ReLU),
                ConvUnit(width, width, 3, bias=False, norm=nn.BatchNorm2d, activation=nn.ReLU),
                PatchConv2d(width, dim, patch_size // 2),
            )
        )
        self.patch_size = patch_size

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        height, width = (side + side % 2 for side in map_size(image))
        check_patches((height, width), (self.patch_size, self.patch_size))
        return super().forward(image)


@part
class RescaledBlock(TwoBranches):
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
