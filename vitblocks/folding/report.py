"""What folding did to a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fold:
    """One thing that was folded into another: both are names of modules in the model."""

    rule: str
    source: str
    into: str


@dataclass
class FoldReport:
    """What :func:`vitblocks.fold` did.

    ``drift`` is the largest difference of the outputs on the sample over their largest magnitude; None without a sample.
    """

    folds: list[Fold] = field(default_factory=list)
    drift: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many times each rule was applied."""
        return dict(Counter(fold.rule for fold in self.folds))

    def __str__(self) -> str:
        lines = [f"{count:4d} x {rule}" for rule, count in self.counts.items()] or ["nothing to fold"]
        if self.drift is not None:
            lines.append(f"outputs moved by {self.drift:.1e} of their largest")
        return "\n".join(lines)


def largest_change(before: Tensor, after: Tensor) -> float:
    """The largest difference over the largest magnitude."""
    scale = before.abs().amax().clamp(min=torch.finfo(before.dtype).tiny)
    return float((after - before).abs().amax() / scale)
