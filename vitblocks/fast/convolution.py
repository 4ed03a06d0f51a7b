"""The pass over depthwise convolutions, with the ways in which PyTorch is slow at them: two on a CPU, one on a GPU."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..checks import tracing
from .conditions import NEEDED, forward_mode, product_dtype, untransformed
from .extend import exchange, split
from .measure import GAIN, Work, gain
from .private import missing
from .report import Report

_HALF = (torch.bfloat16, torch.float16)


class FastDepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` with a group for each channel: ``(B, channels, H, W) -> (B, out_channels, H', W')``, same parameters and results."""

    plain: ClassVar[type[nn.Module]] = nn.Conv2d

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4 or torch.compiler.is_exporting() or input.device.type not in ("cpu", "cuda"):
            return super().forward(input)
        if input.is_cuda:
            return super().forward(input.contiguous() if self.out_channels > self.in_channels else input)
        assert not isinstance(self.padding, str)
        steps = Steps(self.stride, self.padding, self.dilation, self.groups)
        return depthwise(input, self.weight, self.bias, steps)


class Steps(NamedTuple):
    """How a kernel goes over a map, in the order of ``F.conv2d``."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def depthwise(image: Tensor, weight: Tensor, bias: Tensor | None, steps: Steps) -> Tensor:
    """``F.conv2d(image, weight, bias, *steps)`` with a group for each channel, by the faster way."""
    if weight.shape[0] != 2 * steps.groups or tracing():
        return _convolve(image, weight, bias, steps)
    biases = [None if bias is None else bias[i::2] for i in range(2)]
    maps = [_convolve(image, weight[i::2], each, steps) for i, each in enumerate(biases)]
    # The two interleave along the channels, which lie last in memory.
    last = torch.stack([rearrange(each, "b c h w -> b h w c") for each in maps], dim=-1)
    return rearrange(last, "b h w c two -> b (c two) h w")


def _convolve(image: Tensor, weight: Tensor, bias: Tensor | None, steps: Steps) -> Tensor:
    dtype = product_dtype(image, weight)
    if steps.stride == (1, 1) or dtype not in _HALF or not _followed_backward_alone():
        return F.conv2d(image, weight, bias, *steps)
    bias = None if bias is None else bias.to(dtype)
    y: Tensor = _Strided.apply(image.to(dtype), weight.to(dtype), bias, steps)
    return y


_THERE = missing(*NEEDED) is None


def _followed_backward_alone() -> bool:
    """Whether there will be gradients, and none but those of ``backward``: :class:`_Strided` knows no others."""
    return (
        _THERE
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not forward_mode()
        and untransformed()
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


def convolutions(model: nn.Module, *, dtype: torch.dtype | None = None) -> Report:
    """Compute the model's depthwise convolutions by faster ways; in place.

    On a GPU one that makes several channels of each takes maps with the channels first: given them last, cuDNN went through the channels
    one by one (144 to 288 on a 27 x 27 map in bfloat16: 1.1 ms rather than 0.04 on an H200). The rest is of CPUs.

    A convolution that makes two channels of each has no kernel of its own: one for the first of the two and one for the second took a
    fifth to three fifths of the time with the gradients. And the gradients of a strided one in half precision took up to nine times as
    long as in float32, in which they are computed here. (``python -m benchmarks.kernels`` measures both; each is taken where a
    measurement, made once a process, says so.) Modules of exactly the type ``nn.Conv2d`` become :class:`FastDepthwiseConv2d`. What is
    exported, and gradients under ``torch.compile`` and ``torch.func``, are PyTorch's.

    Args:
        model: any module.
        dtype: what the convolutions are computed in: ``torch.bfloat16`` for a model that is trained under autocast. The weights' own
            if None.
    """
    report = Report("convolutions")
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or not 1 < module.groups == module.in_channels:
            continue
        how, reason = _way(module, dtype)
        if how is None:
            report.left[name] = reason
            continue
        exchange(module, nn.Conv2d, FastDepthwiseConv2d)
        report.add(name, how, partial(exchange, module, FastDepthwiseConv2d, nn.Conv2d))
    return report


def _way(module: nn.Conv2d, dtype: torch.dtype | None) -> tuple[str | None, str]:
    """What a convolution is computed by and "", or None and why it is left."""
    base, _ = split(type(module))
    if base is FastDepthwiseConv2d:
        return None, "has it already"
    if base is not nn.Conv2d:
        return None, f"{base.__name__} may do more than nn.Conv2d"
    if module.weight.is_cuda and module.out_channels > module.in_channels:
        return "maps with the channels first", ""
    if module.weight.device.type != "cpu":
        return None, f"on {module.weight.device.type}, where PyTorch's convolution is the one"
    if isinstance(module.padding, str) or module.padding_mode != "zeros":
        return None, f"padding {module.padding!r} of {module.padding_mode}"
    dtype = module.weight.dtype if dtype is None else dtype
    if module.out_channels == 2 * module.in_channels:
        found = two_of_each_gain()
        return (
            (f"two convolutions for two channels of each ({found:.1f} times as fast here)", "")
            if found > GAIN
            else _slow(found)
        )
    if module.stride == (1, 1) or dtype not in _HALF:
        return None, "PyTorch's convolution is fast"
    if (reason := missing(*NEEDED)) is not None:
        return None, reason
    found = strided_gain(dtype)
    return (f"gradients in float32 ({found:.1f} times as fast here)", "") if found > GAIN else _slow(found)


def _slow(found: float) -> tuple[None, str]:
    return None, f"PyTorch's convolution is as fast here (the other's rate is {found:.2f} of it, {GAIN} is asked)"


@cache
def two_of_each_gain() -> float:
    """How many times as long PyTorch's convolution takes to make two channels of each, forward and backward."""
    return gain(partial(_ways, 2, torch.float32))


@cache
def strided_gain(dtype: torch.dtype) -> float:
    """How many times as long PyTorch takes for a strided depthwise convolution with its gradients in half precision."""
    return gain(partial(_ways, 1, dtype))


def _ways(several: int, dtype: torch.dtype) -> tuple[Work, Work]:
    image = torch.ones(4, 64, 28, 28, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.ones(several * 64, 1, 3, 3, dtype=dtype, requires_grad=True)
    steps = Steps((2, 2), (1, 1), (1, 1), 64)

    def fast() -> object:
        return torch.autograd.grad(depthwise(image, weight, None, steps).sum(), (image, weight))

    def plain() -> object:
        return torch.autograd.grad(F.conv2d(image, weight, None, *steps).sum(), (image, weight))

    return fast, plain
