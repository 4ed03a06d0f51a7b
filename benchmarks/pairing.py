"""Two ways to do the same, timed in turn, so that what the machine does meanwhile meets both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitblocks.deploying import measuring
from vitblocks.fast.product import linear

Work = Callable[[], object]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Pairing:
    """Seconds a call of ours and of theirs (medians), and theirs divided by ours, pair by pair: the median and the quartiles."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    pairs: int


def seconds_of(work: Work, calls: int, device: torch.device, clock: Clock | None = None) -> float:
    """The mean over so many calls: by events on a GPU, which do not wait for the host.

    Unless a clock is given, with one thread of a CPU only the time counts in which it had a core, so that a busy machine measures right;
    with several, which wait for one another, what passed.
    """
    if device.type == "cuda":
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        for _ in range(calls):
            work()
        ended.record()
        torch.cuda.synchronize(device)
        return began.elapsed_time(ended) / 1000 / calls
    return measuring.seconds_of(
        work, calls, clock or (time.thread_time if torch.get_num_threads() == 1 else time.perf_counter)
    )


def calls_for(work: Work, device: torch.device, least: float, clock: Clock | None = None) -> int:
    """How many calls make a sample of ``least`` seconds or more. The first calls, which prepare much, do not count."""
    for _ in range(2):
        work()
    return max(1, round(least / max(seconds_of(work, 1, device, clock), 1e-6)))


def compare(
    ours: Work,
    theirs: Work,
    device: torch.device,
    *,
    seconds: float,
    sample: float = 0.05,
    pairs: int = 5,
    clock: Clock | None = None,
) -> Pairing:
    """Both in turn, the first of each pair changing, for about ``seconds`` and for so many pairs at least."""
    sides = (ours, theirs)
    calls = [calls_for(work, device, sample, clock) for work in sides]
    times: list[list[float]] = []
    end = time.perf_counter() + seconds
    while len(times) < pairs or time.perf_counter() < end:
        taken = [0.0, 0.0]
        for side in (1, 0) if len(times) % 2 else (0, 1):
            taken[side] = seconds_of(sides[side], calls[side], device, clock)
        times.append(taken)
    ratios = [b / a for a, b in times]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = [statistics.median(side) for side in zip(*times, strict=True)]
    return Pairing(medians[0], medians[1], middle, low, high, len(times))


def matmul_rate(dtype: torch.dtype, device: torch.device, side: int = 2048) -> float:
    """What the machine does in a plain product of square matrices: operations a second, a multiply-add being two.

    By whichever of PyTorch's product and oneDNN's is the faster one, or what some Linears reach would be more than everything.
    """
    a, b = torch.randn(2, side, side, device=device, dtype=dtype)
    ways = (lambda: a @ b, lambda: linear(a, b, None))
    calls = [calls_for(way, device, 0.05) for way in ways]
    best = min(
        statistics.median(seconds_of(way, count, device) for _ in range(5))
        for way, count in zip(ways, calls, strict=True)
    )
    return 2 * side**3 / best


def operations(work: Work) -> int:
    """Operations of the matrix products and convolutions in one call, a multiply-add being two."""
    # The counter does not know a CPU's fused attention, but the products that it stands for.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def step(loss: Callable[[], torch.Tensor], model: nn.Module) -> Work:
    """Forward and backward."""

    def work() -> None:
        loss().backward()
        for parameter in model.parameters():
            parameter.grad = None

    return work


def training_step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype) -> Work:
    """Forward, cross entropy and backward; in a half precision by autocast, as one trains."""

    def loss() -> torch.Tensor:
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images)
            if isinstance(logits, tuple):  # a class and a distillation head, each with logits of its own in training
                logits = sum(logits) / len(logits)
            return nn.functional.cross_entropy(logits, labels)

    return step(loss, model)
