"""Patch embedding by a linear projection."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from ..grid import Grid, Size, map_size, to_pair
from ..registry import part
from .adaptors import check_patches


@part
class LinearEmbed(nn.Module):
    """Cut the image into patches and project each (ViT, arXiv:2010.11929, Section 3.1): ``(B, C, H, W) -> (x (B, N, dim), grid)``.

    The pixels of a patch are ordered (row, column, channel), the channel fastest.

    Args:
        patch_size: an int or a (height, width).
        dim: channels of a token.
        channels: channels of the image.
        proj: finished module ``patch height * patch width * channels -> dim``; a Linear if None. A Sequential of norm, Linear, norm
            makes it the dual patch norm of arXiv:2302.01327.

    Raises:
        ValueError: in ``forward``, for an image that does not divide into patches or has other channels.
    """

    def __init__(self, patch_size: Size, dim: int, *, channels: int = 3, proj: nn.Module | None = None) -> None:
        super().__init__()
        self.patch_size = to_pair(patch_size, "patch_size")
        self.stride = self.patch_size
        self.channels = channels
        self.proj = nn.Linear(self.patch_size[0] * self.patch_size[1] * channels, dim) if proj is None else proj

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        if image.shape[1] != self.channels:
            raise ValueError(f"image must have {self.channels} channels, got {image.shape[1]}")
        check_patches(map_size(image), self.patch_size)
        rows, columns = self.patch_size
        height, width = map_size(image)
        grid = (height // rows, width // columns)
        patches = rearrange(image, "b c (h p) (w q) -> b (h w) (p q c)", p=rows, q=columns)
        return self.proj(patches), grid

    def extra_repr(self) -> str:
        return f"patch_size={self.patch_size}"
