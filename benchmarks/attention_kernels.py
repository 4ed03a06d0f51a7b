"""Which attention kernels a call takes: PyTorch chooses without a word, and its slow path takes several times as long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile

FUSED = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_fused_attention_overrideable": "fused",
}
MATH = "aten::_scaled_dot_product_attention_math"
SOFTMAX = ("aten::_softmax", "aten::_safe_softmax")
COMPILED_SOFTMAX = re.compile(r"triton_(?!.*(backward|log_softmax)).*softmax")
KINDS = {"flash_fwd": "flash", "cudnn": "cudnn", "cutlassF": "efficient", "softmax": "plain"}
"""What part of a GPU kernel's name tells which kind of attention ran forward."""
TELLING = ("attention", "fmha", "flash", "softmax", "sdpa")
"""Parts of the names of the GPU's kernels that are kept as evidence."""


@dataclass(frozen=True)
class Taken:
    """What one call took.

    Attributes:
        calls: how many attentions went through each way: ``flash``, ``efficient``, ``cudnn``, ``fused``; ``math`` is what fused
            attention falls back to, ``plain`` a softmax of our or their own between products.
        kernels: the telling names among the GPU's kernels, and how often each ran.
    """

    calls: dict[str, int]
    kernels: dict[str, int]

    @property
    def slow(self) -> int:
        """Attentions that wrote their whole matrix to memory."""
        return self.calls.get("math", 0) + self.calls.get("plain", 0)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.calls.items()) or "none seen"


def attention_kernels(work: Callable[[], object]) -> Taken:
    """Call ``work()`` under the profiler.

    A compiler may fuse a softmax into a kernel of its own. Where the GPU's kernels are seen, those that say so in their names count as
    plain; one whose name says nothing is not seen.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiled:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    operators: Counter[str] = Counter()
    kernels: Counter[str] = Counter()
    for event in profiled.events():
        (operators if event.device_type.name == "CPU" else kernels)[event.name] += 1
    return taken(operators, kernels)


def taken(operators: Counter[str], kernels: Counter[str]) -> Taken:
    """From the names of operators on the host and of kernels on the GPU, and how often each was seen."""
    calls = Counter({FUSED[name]: count for name, count in operators.items() if name in FUSED})
    calls["math"] = operators[MATH]
    compiled = sum(count for name, count in kernels.items() if COMPILED_SOFTMAX.match(name))
    # The fallback holds a softmax itself, and a safe softmax holds a softmax.
    calls["plain"] = max(0, max(operators[name] for name in SOFTMAX) - operators[MATH]) + compiled
    if not any(calls.values()):
        calls = replayed(kernels)
    telling = {name: count for name, count in kernels.items() if any(part in name.lower() for part in TELLING)}
    return Taken({name: count for name, count in calls.items() if count}, telling)


def replayed(kernels: Counter[str]) -> Counter[str]:
    """From the kernels alone: of a call that was recorded and is replayed no operator is seen."""
    calls: Counter[str] = Counter()
    for name, count in kernels.items():
        kind = next((kind for part, kind in KINDS.items() if part in name), None)
        if kind is not None:
            calls[kind] += count
    return calls
