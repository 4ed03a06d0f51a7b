"""``python -m benchmarks.kernels``: the small measurements behind decisions in the code, each as a ratio of two ways in one run.

Both ways are timed in turn (A B, B A, ...), and the median of the paired ratios is printed: above 1 the first way is the faster one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vitblocks
from vitblocks import fast
from vitblocks.attention.talking_heads import HeadMix
from vitblocks.fast.convolution import Steps, depthwise
from vitblocks.fast.product import onednn_product

from .memory import peak_bytes, pin_allocator
from .pairing import Work, compare, training_step

CPU = torch.device("cpu")


class Measurement(NamedTuple):
    """Two ways to compute the same."""

    what: str
    ours: Work
    other: Work


def attention_inputs(value_dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    q, k = torch.randn(2, 8, 8, 197, 32)
    return q, k, torch.randn(8, 8, 197, value_dim)


def product() -> Measurement:
    """Not what ``fast.linears`` does everywhere: it takes the first way where it is faster, as here it may not be."""
    x, weight = torch.randn(8 * 197, 384), torch.randn(1536, 384)

    def way(function: Callable[..., Tensor]) -> Work:
        return torch.no_grad()(lambda: function(x, weight, None))

    return Measurement("a Linear, 384 to 1536: oneDNN, against PyTorch's", way(onednn_product), way(F.linear))


def product_with_gradients() -> Measurement:
    x, weight = (torch.randn(*size, requires_grad=True) for size in ((8 * 197, 384), (1536, 384)))

    def way(function: Callable[..., Tensor]) -> Work:
        return lambda: torch.autograd.grad(function(x, weight, None).sum(), (x, weight))

    return Measurement("the same with gradients", way(onednn_product), way(F.linear))


def bias_shape() -> Measurement:
    q, k, v = attention_inputs()
    bias = torch.randn(1, 8, 197, 197)

    def attend(bias: Tensor) -> Work:
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    return Measurement("fused attention: a 4-D bias, against a 3-D one", attend(bias), attend(bias[0]))


def both_ways(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Work, Work]:
    """Plain products against the fused function, forward and backward."""
    inputs = [x for x in (q, k, v, bias) if x is not None]
    for x in inputs:
        x.requires_grad_()

    def plain() -> object:
        logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        out = (logits if bias is None else logits + bias).softmax(dim=-1) @ v
        return torch.autograd.grad(out.sum(), inputs)

    def fused() -> object:
        return torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).sum(), inputs)

    return plain, fused


def trained_bias() -> Measurement:
    plain, fused = both_ways(*attention_inputs(), torch.randn(1, 8, 197, 197))
    return Measurement("a bias that is trained: plain products, against the fused function", plain, fused)


def wide_values() -> Measurement:
    plain, fused = both_ways(*attention_inputs(value_dim=64), None)
    return Measurement("values wider than queries: plain products, against the fused function", plain, fused)


def windows_in_bfloat16() -> Measurement:
    q, k, v = torch.randn(3, 128, 8, 49, 32, dtype=torch.bfloat16)
    plain, fused = both_ways(q, k, v, None)
    return Measurement(
        "bfloat16, windows of 49, with gradients: plain products, against the fused function", plain, fused
    )


def tokens_in_bfloat16() -> Measurement:
    q, k, v = torch.randn(3, 8, 6, 197, 64, dtype=torch.bfloat16)
    plain, fused = both_ways(q, k, v, None)
    return Measurement("bfloat16, 197 tokens, with gradients: plain products, against the fused function", plain, fused)


def transposed_keys() -> Measurement:
    q, k, _ = torch.randn(8, 197, 3 * 6 * 64, dtype=torch.bfloat16).unflatten(-1, (3, 6, 64)).permute(2, 0, 3, 1, 4)

    return Measurement(
        "bfloat16, keys cut out of a projection: copied, then transposed, against left to the product",
        lambda: q @ k.contiguous().transpose(-1, -2),
        lambda: q @ k.transpose(-1, -2),
    )


def head_mix() -> Measurement:
    weights, mix, linear = torch.rand(4, 8, 197, 197), HeadMix(8), nn.Linear(8, 8)

    @torch.no_grad()
    def ours() -> object:
        return mix(weights)

    @torch.no_grad()
    def other() -> object:
        return linear(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    return Measurement("mixing heads: one product a sample, against a Linear over the permuted tensor", ours, other)


def depthwise_ways(several: int, dtype: torch.dtype) -> tuple[Work, Work]:
    """A strided convolution with its gradients, as ``fast.convolutions`` has it computed and as PyTorch does."""
    image = torch.randn(8, 192, 28, 28, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(several * 192, 1, 3, 3, dtype=dtype, requires_grad=True)
    steps = Steps((2, 2), (1, 1), (1, 1), 192)

    def ours() -> object:
        return torch.autograd.grad(depthwise(image, weight, None, steps).sum(), (image, weight))

    def other() -> object:
        return torch.autograd.grad(F.conv2d(image, weight, None, *steps).sum(), (image, weight))

    return ours, other


def strided_depthwise_in_bfloat16() -> Measurement:
    return Measurement(
        "a strided depthwise convolution in bfloat16, with gradients: theirs in float32, against PyTorch's",
        *depthwise_ways(1, torch.bfloat16),
    )


def two_channels_of_each() -> Measurement:
    return Measurement(
        "two channels of each, with gradients: two depthwise convolutions, against one",
        *depthwise_ways(2, torch.float32),
    )


def training_steps() -> Measurement:
    """A training step of a ViT-S with ``fast.recompute``, and with every intermediate result kept."""
    images, labels = torch.randn(8, 3, 224, 224), torch.randint(1000, (8,))
    plain = vitblocks.create_model("vit_small_patch16_224")
    model = deepcopy(plain)
    fast.recompute(model)
    ours, other = (training_step(each, images, labels, torch.float32) for each in (model, plain))
    return Measurement("training a ViT-S: norms and activations computed again, against kept", ours, other)


def main() -> None:
    pin_allocator("benchmarks.kernels")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: 2), 5 pairs at least")
    seconds = parser.parse_args().seconds
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32 unless said")
    for make in (
        product,
        product_with_gradients,
        bias_shape,
        trained_bias,
        wide_values,
        windows_in_bfloat16,
        tokens_in_bfloat16,
        transposed_keys,
        head_mix,
        strided_depthwise_in_bfloat16,
        two_channels_of_each,
        training_steps,
    ):
        what, ours, other = make()
        found = compare(ours, other, CPU, seconds=seconds)
        print(f"{found.ratio:5.2f}x  {found.ours * 1e3:7.2f} ms against {found.theirs * 1e3:7.2f} ms  {what}")
    peaks = [peak_bytes(work, CPU) / 2**20 for work in (ours, other)]
    print(f"{peaks[1] / peaks[0]:5.2f}x  {peaks[0]:7.0f} MiB against {peaks[1]:6.0f} MiB  the most memory in that step")


if __name__ == "__main__":
    main()
