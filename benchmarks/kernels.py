"""``python -m benchmarks.kernels``: the small measurements behind decisions in the code, each as a ratio of two ways in one run.

Both ways are timed in turn (A B A B ...), and the median of the paired ratios is printed: above 1 the first way is the faster one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.attention.talking_heads import HeadMix
from vitblocks.linear import _Product, _product

Way = Callable[[], object]


class Measurement(NamedTuple):
    """Two ways to compute the same."""

    what: str
    ours: Way
    other: Way


def attention_inputs(value_dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    q, k = torch.randn(2, 8, 8, 197, 32)
    return q, k, torch.randn(8, 8, 197, value_dim)


def product() -> Measurement:
    """Not what ``vitblocks.Linear`` does everywhere: it takes the first way where it is faster, as here it may not be."""
    x, weight = torch.randn(8 * 197, 384), torch.randn(1536, 384)
    return Measurement(
        "a Linear, 384 to 1536: oneDNN, against PyTorch's", lambda: _product(x, weight), lambda: F.linear(x, weight)
    )


def product_with_gradients() -> Measurement:
    x, weight = (torch.randn(*size, requires_grad=True) for size in ((8 * 197, 384), (1536, 384)))

    def way(function: Callable[..., Tensor]) -> Way:
        return lambda: torch.autograd.grad(function(x, weight, None).sum(), (x, weight))

    return Measurement("the same with gradients", way(_Product.apply), way(F.linear))


def bias_shape() -> Measurement:
    q, k, v = attention_inputs()
    bias = torch.randn(1, 8, 197, 197)

    def attend(bias: Tensor) -> Way:
        return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    return Measurement("fused attention: a 4-D bias, against a 3-D one", attend(bias), attend(bias[0]))


def both_ways(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Way, Way]:
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


def head_mix() -> Measurement:
    weights, mix, linear = torch.rand(4, 8, 197, 197), HeadMix(8), nn.Linear(8, 8)

    @torch.no_grad()
    def ours() -> object:
        return mix(weights)

    @torch.no_grad()
    def other() -> object:
        return linear(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()

    return Measurement("mixing heads: one product a sample, against a Linear over the permuted tensor", ours, other)


def seconds(way: Way) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def measure(measurement: Measurement, repeats: int) -> tuple[float, float, float]:
    """The median of the paired ratios other / ours, and the median seconds of each."""
    for way in (measurement.ours, measurement.other) * 3:
        way()
    pairs = [(seconds(measurement.ours), seconds(measurement.other)) for _ in range(repeats)]
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return statistics.median(b / a for a, b in pairs), ours, other


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--repeats", type=int, default=50, help="pairs to time of each measurement")
    repeats = parser.parse_args().repeats
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
        head_mix,
    ):
        measurement = make()
        ratio, ours, other = measure(measurement, repeats)
        print(f"{ratio:5.2f}x  {ours * 1e3:6.2f} ms against {other * 1e3:6.2f} ms  {measurement.what}")


if __name__ == "__main__":
    main()
