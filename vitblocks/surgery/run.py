"""Running a model on a sample before and after, and knowing which layer was at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..attention import Attention
from ..folding.report import relative_error
from ..inspect.frames import evaluating
from .report import Replacement, SwapDrift


class Outputs(NamedTuple):
    """What a model gives for a sample: logits, and ``forward_features`` where it has that."""

    logits: Tensor
    features: Tensor | None


def outputs(model: nn.Module, sample: Tensor) -> Outputs:
    """Run the model in evaluation.

    Raises:
        TypeError: it returns something else than a tensor.
    """
    with evaluating(model), torch.no_grad():
        logits = model(sample)
        if not isinstance(logits, Tensor):
            raise TypeError(f"a sample needs a model that returns a tensor of logits, got {type(logits).__name__}")
        pooled = getattr(model, "forward_features", None)
        features = pooled(sample) if callable(pooled) else None
    return Outputs(logits, features)


def drift_between(before: Outputs, after: Outputs) -> SwapDrift:
    same = (after.logits.argmax(dim=-1) == before.logits.argmax(dim=-1)).double().mean()
    features = None
    if before.features is not None and after.features is not None:
        features = relative_error(after.features, before.features)
    return SwapDrift(logits=relative_error(after.logits, before.logits), features=features, top1=float(same))


@dataclass
class Trace:
    """Which swapped layer runs, which ran last, and which were called or had only their Attend called."""

    running: str | None = None
    last: str | None = None
    called: set[str] = field(default_factory=set)
    attended: set[str] = field(default_factory=set)

    @property
    def place(self) -> str:
        """Where an error came from."""
        if self.running is not None:
            return self.running
        return "the model before any swapped layer" if self.last is None else f"the model after {self.last}"

    def bypassed(self, replacements: list[Replacement]) -> list[Replacement]:
        """Attentions that were used without being called, although the new kind's forward is not the old one's."""
        return [
            r
            for r in replacements
            if r.title in self.attended - self.called and type(r.new).forward is not type(r.old).forward
        ]


@contextmanager
def tracing(replacements: list[Replacement]) -> Iterator[Trace]:
    """Follow the new layers through a forward."""
    trace = Trace()
    handles = [handle for replacement in replacements for handle in _follow(replacement, trace)]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _follow(replacement: Replacement, trace: Trace) -> list[torch.utils.hooks.RemovableHandle]:
    title = replacement.title

    def enter(module: nn.Module, args: object) -> None:
        trace.running = trace.last = title
        trace.called.add(title)

    def leave(module: nn.Module, args: object, output: object) -> None:
        trace.running = None

    def attend(module: nn.Module, args: object) -> None:
        trace.last = title
        trace.attended.add(title)

    handles = [
        replacement.new.register_forward_pre_hook(enter),
        replacement.new.register_forward_hook(leave),
    ]
    if isinstance(replacement.new, Attention):
        handles.append(replacement.new.attend.register_forward_pre_hook(attend))
    return handles
