"""``python -m benchmarks.kernels``: the small measurements behind decisions in the code, each as a ratio of two ways in one run.

Both ways are timed in turn (A B, B A, ...), and the median of the paired ratios is printed: above 1 the first way is the faster one.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.attention.talking_heads import HeadMix

from .memory import pin_allocator
from .pairing import Work, compare

CPU = torch.device("cpu")


class Measurement(NamedTuple):
    """Two ways to compute the same."""

    what: str
    ours: Work
    other: Work


def attention_inputs(value_dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    q, k = torch.randn(2, 8, 8, 197, 32)
    return q, k, torch.randn(8, 8, 197, value_dim)


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


def main() -> None:
    pin_allocator("benchmarks.kernels")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: 2), 5 pairs at least")
    seconds = parser.parse_args().seconds
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32 unless said")
    for make in (
        bias_shape,
        trained_bias,
        wide_values,
        windows_in_bfloat16,
        tokens_in_bfloat16,
        transposed_keys,
        head_mix,
    ):
        what, ours, other = make()
        found = compare(ours, other, CPU, seconds=seconds)
        print(f"{found.ratio:5.2f}x  {found.ours * 1e3:7.2f} ms against {found.theirs * 1e3:7.2f} ms  {what}")


if __name__ == "__main__":
    main()
