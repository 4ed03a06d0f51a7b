"""Inverted residual: expand the channels, convolve each alone, project back."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..grid import to_pair
from ..registry import part
from .stem import ConvUnit


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, at least 90% of ``channels`` (arXiv:1801.04381, authors' code)."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


@part
class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions, each with BatchNorm (MobileNetV2, arXiv:1801.04381, Section 3.4): map to map.

    ``(B, C, H, W) -> (B, out_channels, H', W')``, sizes divided by ``stride`` and rounded up. The input is added where neither size nor
    channels change.

    Args:
        in_channels, out_channels: channels in and out.
        stride: of the depthwise convolution.
        expansion: hidden channels over channels in, rounded to a multiple of 8.
        kernel_size: of the depthwise convolution.
        activation: factory, after the first two convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        expansion: float = 4,
        kernel_size: int = 3,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        hidden = make_divisible(in_channels * expansion)
        self.stride = to_pair(stride, "stride")
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand = ConvUnit(in_channels, hidden, 1, bias=False, norm=nn.BatchNorm2d, activation=activation)
        self.depthwise = ConvUnit(
            hidden,
            hidden,
            kernel_size,
            stride=stride,
            groups=hidden,
            bias=False,
            norm=nn.BatchNorm2d,
            activation=activation,
        )
        self.project = ConvUnit(hidden, out_channels, 1, bias=False, norm=nn.BatchNorm2d)

    def forward(self, image: Tensor) -> Tensor:
        update = self.project(self.depthwise(self.expand(image)))
        return image + update if self.has_shortcut else update
