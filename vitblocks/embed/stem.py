"""Convolutional stems: several convolutions before the first token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from ..checks import check_module
from ..grid import Grid, map_size
from ..registry import part
from .adaptors import MapEmbed


@part
class ConvUnit(nn.Sequential):
    """Convolution, then norm, activation and pooling where given, under the keys ``conv``, ``norm``, ``act``, ``pool``.

    Args:
        in_channels, out_channels, kernel_size, stride: of the convolution.
        padding: half the kernel if None, so that a stride of 1 keeps the size.
        groups, bias: of the convolution.
        norm: factory ``channels -> map module``, such as nn.BatchNorm2d.
        activation: factory.
        pool: a finished map -> map module.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = True,
        norm: Callable[[int], nn.Module] | None = None,
        activation: Callable[[], nn.Module] | None = None,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        if norm is not None:
            self.norm = norm(out_channels)
        if activation is not None:
            self.act = activation()
        if pool is not None:
            check_module("pool", pool)
            self.pool = pool


@part
class ConvStem(MapEmbed):
    """3x3 convolutions with BatchNorm that halve the image each time: ``(B, C, H, W) -> (x, grid)``.

    The activation stands between them, not after the last (LeViT, arXiv:2104.01136, Section 4.2). Sizes are rounded up.

    Args:
        widths: channels after each convolution; the last is ``dim``. LeViT's are ``dim / 8, dim / 4, dim / 2, dim``.
        channels: channels of the image.
        activation: factory; Hardswish as published.
        norm: a finished module on the tokens, or None.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        channels: int = 3,
        activation: Callable[[], nn.Module] = nn.Hardswish,
        norm: nn.Module | None = None,
    ) -> None:
        """Raises ValueError if ``widths`` is empty."""
        if not widths:
            raise ValueError("widths must name at least one convolution")
        units, before, last = [], channels, len(widths) - 1
        for i, width in enumerate(widths):
            act = None if i == last else activation
            units.append(ConvUnit(before, width, stride=2, bias=False, norm=nn.BatchNorm2d, activation=act))
            before = width
        super().__init__(nn.Sequential(*units), norm)


@part
class CompactStem(MapEmbed):
    """Convolution, ReLU and max-pooling, repeated (CCT's tokenizer, arXiv:2104.05704, Section 3.2, eq. 2): ``(B, C, H, W) -> (x, grid)``.

    Args:
        dim: channels of a token.
        channels: channels of the image.
        convs: how many convolutions.
        width: channels in between.
        kernel_size, stride, padding: of the convolutions, which have no bias.
        pool_size, pool_stride, pool_padding: of the max-pooling.

    Raises:
        ValueError: in ``forward``, for an image of which nothing is left.
    """

    def __init__(
        self,
        dim: int,
        *,
        channels: int = 3,
        convs: int = 1,
        width: int = 64,
        kernel_size: int = 7,
        stride: int = 2,
        padding: int = 3,
        pool_size: int = 3,
        pool_stride: int = 2,
        pool_padding: int = 1,
    ) -> None:
        """Raises ValueError if ``convs`` is not positive."""
        if 2 * pool_padding > pool_size:
            raise ValueError(f"pool_padding must be at most half of pool_size {pool_size}, got {pool_padding}")
        widths = [channels, *[width] * (convs - 1), dim]
        units = [
            ConvUnit(
                before,
                after,
                kernel_size,
                stride=stride,
                padding=padding,
                bias=False,
                activation=nn.ReLU,
                pool=nn.MaxPool2d(pool_size, pool_stride, pool_padding),
            )
            for before, after in pairwise(widths)
        ]
        super().__init__(nn.Sequential(*units))
        self.least = 1
        for _ in range(convs):
            pooled = max((self.least - 1) * pool_stride + pool_size - 2 * pool_padding, 1)
            self.least = max((pooled - 1) * stride + kernel_size - 2 * padding, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        if min(map_size(image)) < self.least:
            raise ValueError(f"image sides must be at least {self.least}, got {map_size(image)}")
        return super().forward(image)
