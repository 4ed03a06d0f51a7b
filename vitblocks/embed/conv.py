"""Patch embedding by a convolution."""

from __future__ import annotations

from torch import nn

from ..grid import Size, to_pair
from ..registry import part
from .adaptors import MapEmbed, PatchConv2d, Remainder, SlidingConv2d


@part
class ConvEmbed(MapEmbed):
    """Embed patches with one convolution: ``(B, C, H, W) -> (x (B, H'*W', dim), grid)``.

    With the default stride it equals a linear embedding of patches side by side; a smaller one makes them overlap (PiT,
    arXiv:2103.16302, Section 3.1; CvT, arXiv:2103.15808, Section 3.1).

    Args:
        patch_size: kernel, an int or a (height, width).
        dim: channels of a token.
        channels: channels of the image.
        stride: ``patch_size`` if None.
        padding: zeros around the image.
        norm: a finished module on the tokens, or None.
        bias: whether the convolution has one; CLIP's (arXiv:2103.00020) has none.
        remainder: what becomes of an image that does not divide into patches side by side, see
            :class:`~vitblocks.embed.adaptors.PatchConv2d`. Where patches overlap, what fills no whole one is left out.

    Raises:
        ValueError: in ``forward``, for an image that does not divide into patches side by side and is refused, or is smaller than one
            that overlaps.
    """

    def __init__(
        self,
        patch_size: Size,
        dim: int,
        *,
        channels: int = 3,
        stride: Size | None = None,
        padding: Size = 0,
        norm: nn.Module | None = None,
        bias: bool = True,
        remainder: Remainder = "refuse",
    ) -> None:
        size = to_pair(patch_size, "patch_size")
        step = size if stride is None else to_pair(stride, "stride")
        margin = to_pair(padding, "padding", minimum=0)
        side_by_side = step == size and margin == (0, 0)
        conv = (
            PatchConv2d(channels, dim, size, bias=bias, remainder=remainder)
            if side_by_side
            else SlidingConv2d(channels, dim, size, stride=step, padding=margin, bias=bias)
        )
        super().__init__(conv, norm)
