"""What ``python -m benchmarks.gpu`` measures of one subject: whether its logits are right, and its speed and memory beside timm's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks import fast
from vitblocks.folding.report import relative_error

from .attention_kernels import attention_kernels
from .gpu_models import Subject
from .pairing import Work, compare, operations

SIDES = ("ours", "theirs")
INFERENCE, TRAINING = "inference", "training"
EAGER, PASSES, COMPILED = "eager", "passes", "compiled"
HALF = torch.bfloat16


@dataclass(frozen=True)
class Setting:
    """A phase, how many images, and what is done to both sides: nothing, all passes of ``fast``, or compiled."""

    phase: str
    batch: int
    mode: str

    def __str__(self) -> str:
        return f"{self.phase}, {self.batch} image{'s' * (self.batch > 1)}, {self.mode}"


class Pair:
    """Both sides of a subject, in float32 on the CPU."""

    def __init__(self, subject: Subject) -> None:
        torch.manual_seed(0)
        self.models: dict[str, nn.Module] = {side: getattr(subject, side)() for side in SIDES}
        self.image_size = subject.image_size
        self.counts: dict[tuple[str, str], float] = {}

    def operations(self, side: str, phase: str, device: torch.device) -> float:
        """Operations for one image, a multiply-add being two: products and convolutions alone."""
        if (side, phase) not in self.counts:
            images = random_images(2, self.image_size, device)  # BatchNorm does not train with a single one
            work = call(self.models[side], Setting(phase, 2, EAGER), images)
            self.counts[side, phase] = operations(work) / 2
        return self.counts[side, phase]


@torch.no_grad()
def agreement(model: nn.Module, image_size: int, device: torch.device) -> dict[str, float]:
    """Logits on ``device`` against those of the CPU, both in float32 without TF32, and those of bfloat16 against those of float32."""
    torch.manual_seed(1)
    images = torch.randn(2, 3, image_size, image_size)
    expected = copy.deepcopy(model).eval()(images)
    there = copy.deepcopy(model).eval().to(device)
    # Convolutions take TF32 unless told otherwise; matrix products do not.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        found = there(images.to(device))
    half = there.to(HALF)(images.to(device, HALF))
    return {"device_error": relative_error(found.cpu(), expected), "half_error": relative_error(half, found)}


def inference_call(called: Callable[[Tensor], Tensor], images: Tensor) -> Work:
    def work() -> None:
        with torch.inference_mode():
            called(images)

    return work


def training_call(model: nn.Module, called: Callable[[Tensor], Any], images: Tensor) -> Work:
    """Forward, cross entropy in float32, backward and a step of AdamW, all else in the model's precision."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    labels = torch.arange(len(images), device=images.device)

    def work() -> None:
        logits = called(images)
        if isinstance(logits, tuple):  # a class and a distillation head, each with logits of its own in training
            logits = sum(logits) / len(logits)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return work


def call(model: nn.Module, setting: Setting, images: Tensor) -> Work:
    """What is timed of a copy of ``model``, with its weights as bfloat16 on the device of ``images``."""
    training = setting.phase == TRAINING
    placed = copy.deepcopy(model).to(images.device, HALF).train(training).requires_grad_(training)
    if setting.mode == PASSES:
        fast.optimize(placed)
        fast.graphs(placed)
    called = torch.compile(placed, dynamic=False) if setting.mode == COMPILED else placed
    return training_call(placed, called, images) if training else inference_call(called, images)


def random_images(batch: int, image_size: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 3, image_size, image_size, device=device, dtype=HALF)


def peak(make: Callable[[], Work], device: torch.device) -> tuple[Work, int | None]:
    """The call that ``make`` gives, warm, and the most bytes it takes, weights and optimizer included; None on a CPU."""
    if device.type != "cuda":
        work = make()
        work()
        return work, None
    before = torch.cuda.memory_allocated(device)
    work = make()
    work()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    return work, torch.cuda.max_memory_allocated(device) - before


def measured(pair: Pair, setting: Setting, device: torch.device, *, rate: float, seconds: float) -> dict[str, Any]:
    """A row: paired times, images a second, shares of the product ``rate``, peak memory and the attention kernels, of both sides."""
    torch.manual_seed(0)
    images = random_images(setting.batch, pair.image_size, device)
    works: dict[str, Work] = {}
    row: dict[str, Any] = asdict(setting)
    if setting.mode == COMPILED:
        torch.compiler.reset()
    for side, model in pair.models.items():
        try:
            works[side], row[f"peak_{side}"] = peak(partial(call, model, setting, images), device)
        except Exception as error:
            raise RuntimeError(f"{side}: {error}") from error
    found = compare(works["ours"], works["theirs"], device, seconds=seconds)
    row |= asdict(found)
    for side in SIDES:
        took = attention_kernels(works[side])
        row[f"images_{side}"] = setting.batch / row[side]
        row[f"share_{side}"] = pair.operations(side, setting.phase, device) * row[f"images_{side}"] / rate
        row |= {f"attention_{side}": took.calls, f"kernels_{side}": took.kernels, f"slow_{side}": took.slow}
    return row
