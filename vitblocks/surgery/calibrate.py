"""BatchNorms that a swap brought in: their statistics, read off the sample.

A fresh BatchNorm that starts as the identity is one in evaluation alone. In training it norms by the statistics of the batch, so that
the first step of fine-tuning would meet another function than the one that was kept. With the statistics of a sample, and a scale and a
shift that undo them, both modes agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..folding.affine import BatchNormNd, batch_norm_affine
from ..norm import at_least_float32


def fresh_norms(layer: nn.Module, filled: Collection[str]) -> list[BatchNormNd]:
    """The BatchNorms of a new layer whose statistics are not carried over: ``filled`` are the keys that are."""
    return [
        module
        for name, module in layer.named_modules()
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        and module.track_running_stats
        and f"{name}.running_mean" not in filled
    ]


@contextmanager
def calibrating(norms: Collection[BatchNormNd], *, keep_function: bool) -> Iterator[None]:
    """Give every norm the statistics of what it is called with first, before it runs.

    To keep what it does in evaluation, its scale and shift change with them.
    """
    done: set[nn.Module] = set()

    def calibrate_first(norm: Any, args: tuple[Any, ...]) -> None:
        if norm not in done:
            done.add(norm)
            calibrate(norm, args[0], keep_function)

    handles = [norm.register_forward_pre_hook(calibrate_first) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def calibrate(norm: BatchNormNd, x: Tensor, keep_function: bool) -> None:
    """Give a norm the mean and the variance of ``x (B, C, ...)`` by channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    before = batch_norm_affine(norm)
    samples = at_least_float32(rearrange(x, "b c ... -> c (b ...)"))
    mean, variance = samples.mean(dim=1), samples.var(dim=1, correction=0)
    if keep_function and norm.affine and before is not None:
        norm.bias.copy_(before.scale * mean + before.shift)
        norm.weight.copy_(before.scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
