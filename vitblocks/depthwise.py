"""The depthwise convolution that parts are made of: ``nn.Conv2d``, by faster ways on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn

from .faster import product_dtype, untraced
from .grid import Size, to_pair


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` with a group for each channel: ``(B, channels, H, W) -> (B, out_channels, H', W')``, same parameters, same results.

    Two of PyTorch's ways are slow on a CPU, and left here (``python -m benchmarks.kernels`` measures both). A convolution that makes two
    channels of each has no kernel of its own: with the gradients, one for the first of the two and one for the second took a quarter to
    a half of the time. And the gradients of a strided one in bfloat16, also by autocast, took up to 50 times as long as in float32, in
    which they are computed here. What is exported, and gradients under ``torch.compile`` and ``torch.func``, are PyTorch's.

    Args:
        channels: in, and the number of groups.
        out_channels: a multiple of ``channels``; another raises ValueError.
        kernel_size, stride, padding, bias: as of ``nn.Conv2d``.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        *,
        bias: bool = True,
    ) -> None:
        kernel, step = to_pair(kernel_size, "kernel_size"), to_pair(stride, "stride")
        margin = to_pair(padding, "padding", minimum=0)
        super().__init__(channels, out_channels, kernel, step, margin, groups=channels, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.dim() != 4 or torch.compiler.is_exporting():
            return super().forward(input)
        assert not isinstance(self.padding, str)
        steps = Steps(self.stride, self.padding, self.dilation, self.groups)
        if self.out_channels != 2 * self.in_channels:
            return _convolve(input, self.weight, self.bias, steps)
        biases = [None if self.bias is None else self.bias[i::2] for i in range(2)]
        maps = [_convolve(input, self.weight[i::2], bias, steps) for i, bias in enumerate(biases)]
        # The two interleave along the channels, which lie last in memory.
        return torch.stack([image.permute(0, 2, 3, 1) for image in maps], dim=-1).flatten(3).permute(0, 3, 1, 2)


class Steps(NamedTuple):
    """How a kernel goes over a map, in the order of ``F.conv2d``."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


_HALF = (torch.bfloat16, torch.float16)


def _convolve(image: Tensor, weight: Tensor, bias: Tensor | None, steps: Steps) -> Tensor:
    dtype = product_dtype(image, weight)
    if steps.stride == (1, 1) or dtype not in _HALF or not _followed_backward_alone(image, weight):
        return F.conv2d(image, weight, bias, *steps)
    bias = None if bias is None else bias.to(dtype)
    y: Tensor = _Strided.apply(image.to(dtype), weight.to(dtype), bias, steps)
    return y


def _followed_backward_alone(*tensors: Tensor) -> bool:
    """Whether there will be gradients, and none but those of ``backward``: :class:`_Strided` knows no others."""
    return (
        torch.is_grad_enabled()
        and forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
        and untraced(*tensors)
    )


class _Strided(torch.autograd.Function):
    """A convolution in half precision, its gradients in float32; a float32 copy that went forward would be kept until then."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor | None, steps: Steps) -> Tensor:
        ctx.save_for_backward(image, weight)
        ctx.steps = steps
        return F.conv2d(image, weight, bias, *steps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight = ctx.saved_tensors
        gradients = torch.ops.aten.convolution_backward(
            grad.float(),
            image.float(),
            weight.float(),
            bias_sizes=weight.shape[:1],
            **ctx.steps._asdict(),
            transposed=False,
            output_padding=(0, 0),
            output_mask=ctx.needs_input_grad[:3],
        )
        return *(None if gradient is None else gradient.to(grad.dtype) for gradient in gradients), None
