"""The most memory that a call takes, exactly: what it asks of PyTorch's allocator, not what the process happens to hold."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**46)}
"""glibc then keeps what is freed: fresh pages are asked of the system once, and not in every call that is timed."""


def pin_allocator(module: str) -> None:
    """Start ``python -m module`` anew with :data:`ALLOCATOR` set, unless it is: glibc reads it when a process starts."""
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **ALLOCATOR})


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes alive at a time during ``work()`` beyond those before it, its result and the buffers of kernels included.

    On a CPU PyTorch's profiler reports each allocation; what the mathematical libraries take for themselves it does not see.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    told = sorted((event["ts"], event["args"]) for event in events if event.get("name") == "[memory]")
    if not told:
        return 0
    totals = [args["Total Allocated"] for _, args in told]
    return max(0, max(totals) - (totals[0] - told[0][1]["Bytes"]))
