"""Convolution and pooling with TensorFlow's padding "same": the map is divided by the stride, rounded up, whatever the kernel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..grid import Size, map_size, to_pair
from ..registry import part


def pad_same(image: Tensor, kernel_size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """A map ``(B, C, H, W)`` with the zeros that its kernels need; the odd one lies at the bottom and right."""
    down, right = (
        max((-(-side // step) - 1) * step + kernel - side, 0)
        for side, kernel, step in zip(map_size(image), kernel_size, stride, strict=True)
    )
    return F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))


@part
class SameConv2d(nn.Conv2d):
    """A convolution of a map padded as TensorFlow's "same": at a stride, less at the top and left than at the bottom and right.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, bias: of the convolution.
    """

    is_linear = True
    pads = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        size, step = to_pair(kernel_size, "kernel_size"), to_pair(stride, "stride")
        super().__init__(in_channels, out_channels, size, step, groups=groups, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        kernel, stride = self.kernel_size, self.stride
        return super().forward(pad_same(image, (kernel[0], kernel[1]), (stride[0], stride[1])))


@part
class SameAvgPool2d(nn.AvgPool2d):
    """The means of patches side by side, the last ones filled up with zeros: ``(B, C, H, W) -> (B, C, H', W')``, rounded up."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__(kernel_size)

    def forward(self, image: Tensor) -> Tensor:
        size = to_pair(self.kernel_size, "kernel_size")
        return super().forward(pad_same(image, size, size))
