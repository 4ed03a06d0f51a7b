"""``python -m benchmarks.measure '{...}'``: one job of ``benchmarks.compare`` in a process of its own; the result is the last line.

A process of its own has its allocator set from outside, and a peak of memory that nothing else raised.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import vitblocks
from vitblocks import fast

from .deploy import session_of
from .pairing import Work, compare, matmul_rate, operations, training_step
from .peers import PEERS, Peer, pair

Way = Callable[[nn.Module, Tensor, torch.dtype], nn.Module]
"""A model made ready: ``(model, images, what it is computed in) -> model``."""


def folded(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
    return vitblocks.fold(model, images).model


def compiled(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(model)  # type: ignore[return-value]


def folded_for_logits(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
    """As ``vitblocks.deploy`` folds."""
    return vitblocks.fold(model, images, outputs="logits").model


class InRuntime(nn.Module):
    """A model in one of the runtimes of ``vitblocks.deploy``."""

    def __init__(self, name: str, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.session = session_of(name, model, images)

    def forward(self, images: Tensor) -> Tensor:
        return self.session(images)[0]


def in_runtime(name: str) -> Way:
    def way(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
        return InRuntime(name, model, images)

    return way


def plain(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
    return model


def passed(name: str) -> Way:
    """One of the passes of ``vitblocks.fast``."""

    def way(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
        change = getattr(fast, name)
        change(model, **({"dtype": dtype} if "dtype" in signature(change).parameters else {}))
        return model

    return way


def one_after_another(*ways: Way) -> Way:
    def way(model: nn.Module, images: Tensor, dtype: torch.dtype) -> nn.Module:
        for each in ways:
            model = each(model, images, dtype)
        return model

    return way


class Mode(NamedTuple):
    """How the two sides are made ready.

    Attributes:
        whose: ``ours`` or ``theirs`` where that model is on both sides, which then differ by their ways alone.
    """

    ours: Way
    theirs: Way
    whose: str = ""


PASSES = ("optimize", "linears", "convolutions", "attends", "recompute")
"""The passes that change something without a compiler."""

_optimized_and_compiled = one_after_another(passed("optimize"), compiled)
MODES: dict[str, Mode] = {
    "eager": Mode(plain, plain),
    "compiled": Mode(compiled, compiled),
    "frozen": Mode(compiled, compiled),  # with weights as constants, by the environment of the process
    "folded": Mode(folded, plain),
    "folded against compiled": Mode(folded, compiled),
    "folded and compiled": Mode(one_after_another(folded, compiled), compiled),
    "folded and optimized": Mode(one_after_another(folded, passed("optimize")), passed("optimize")),
    "optimized and compiled": Mode(_optimized_and_compiled, _optimized_and_compiled),
}
IN_RUNTIMES = ("openvino", "onnxruntime")
"""Modes of inference in float32: ours folded and theirs as it is, both by the same way into the same runtime."""
for _name in IN_RUNTIMES:
    MODES[_name] = Mode(one_after_another(folded_for_logits, in_runtime(_name)), in_runtime(_name))
for _name in PASSES:
    MODES[f"fast.{_name}"] = Mode(passed(_name), passed(_name))
    for _whose in ("ours", "theirs"):
        MODES[f"fast.{_name} on {_whose}"] = Mode(passed(_name), plain, _whose)


def modes_of(name: str) -> list[str]:
    """What shows a pass: both sides with it, and each side with it against itself without."""
    return [f"fast.{name}", f"fast.{name} on ours", f"fast.{name} on theirs"]


TRAINING = "training"


@dataclass(frozen=True)
class Task:
    """What to measure: a peer by its name, ``batch`` images in inference or in a training step."""

    peer: str
    phase: str
    batch: int
    dtype: str
    mode: str
    device: str = "cpu"
    seconds: float = 5.0
    side: str = ""
    """Whose memory to measure, ``ours`` or ``theirs``; empty to measure time."""

    def find(self) -> Peer:
        return next(peer for peer in PEERS if peer.name == self.peer)

    @property
    def computed_in(self) -> torch.dtype:
        return getattr(torch, self.dtype)


def works(task: Task, models: list[nn.Module], images: Tensor) -> list[Work]:
    """What is timed, for each model."""
    dtype = task.computed_in
    if task.phase == TRAINING:
        labels = torch.randint(1000, (len(images),), device=images.device)
        return [training_step(model.train(), images, labels, dtype) for model in models]
    return [lambda model=model: model(images) for model in models]  # type: ignore[misc]


def ready(task: Task, models: list[nn.Module], ways: list[Way]) -> tuple[list[nn.Module], Tensor]:
    """Models and images in the task's precision, on its device, prepared in the mode's way."""
    torch.manual_seed(0)
    size = task.find().image_size
    # Training keeps its parameters in float32 and computes by autocast; inference converts them.
    dtype = torch.float32 if task.phase == TRAINING else task.computed_in
    images = torch.randn(task.batch, 3, size, size, device=task.device, dtype=dtype)
    training = task.phase == TRAINING
    models = [model.to(task.device, dtype).train(training).requires_grad_(training) for model in models]
    return [way(model, images, task.computed_in) for way, model in zip(ways, models, strict=True)], images


def sides(task: Task) -> list[nn.Module]:
    """The two models, plain: ours and theirs, or one of them twice."""
    ours, theirs = pair(task.find())
    whose = MODES[task.mode].whose
    if not whose:
        return [ours, theirs]
    model = ours if whose == "ours" else theirs
    return [model, deepcopy(model)]


def timed(task: Task) -> dict[str, Any]:
    """Paired times, and the share of the machine's matrix-product rate that each side reaches."""
    device = torch.device(task.device)
    plain_models, mode = sides(task), MODES[task.mode]
    models, images = ready(task, plain_models, [mode.ours, mode.theirs])
    with torch.inference_mode(task.phase != TRAINING):
        ours, theirs = works(task, models, images)
        found = compare(ours, theirs, device, seconds=task.seconds)
        rate = matmul_rate(task.computed_in, device)
        counted = [operations(work) for work in works(task, plain_models, images)]
    shares = {
        f"share_{side}": count / seconds / rate
        for side, count, seconds in zip(("ours", "theirs"), counted, (found.ours, found.theirs), strict=True)
    }
    return {**asdict(found), **shares, "matmul_rate": rate}


def resident(what: str) -> int:
    """Bytes of this process by the kernel's count: ``VmRSS`` now, ``VmHWM`` at the most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {what}: peak memory on a CPU is measured on Linux alone")


def peak(task: Task) -> dict[str, Any]:
    """The most memory that a call takes once everything is warm, weights included: ``{"bytes": ...}``."""
    device = torch.device(task.device)
    peer, mode = task.find(), MODES[task.mode]
    ours = (mode.whose or task.side) == "ours"
    torch.zeros(1, device=device)
    (peer.theirs if ours else peer.ours)()  # both libraries are imported before the count begins
    gc.collect()
    before = resident("VmRSS")
    torch.manual_seed(0)
    model = (peer.ours if ours else peer.theirs)()
    way = mode.ours if task.side == "ours" else mode.theirs
    models, images = ready(task, [model], [way])
    with torch.inference_mode(task.phase != TRAINING):
        (work,) = works(task, models, images)
        work()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            work()
            return {"bytes": torch.cuda.max_memory_allocated(device)}
        Path("/proc/self/clear_refs").write_text("5")  # the kernel counts the most from here on
        work()
    return {"bytes": resident("VmHWM") - before}


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    print(json.dumps(peak(task) if task.side else timed(task)))


if __name__ == "__main__":
    main()
