"""What folding did to a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

from ..norm import at_least_float32


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


def relative_error(found: Tensor, expected: Tensor) -> float:
    """``max |found - expected| / max |expected|``, at least in float32, the second over what is finite.

    0 where both are the same, also where both are infinite, as logits that a model masks; infinity where only what is expected is all
    zero or the shapes differ, NaN where one of them has a NaN.
    """
    if found.shape != expected.shape:
        return float("inf")
    if not expected.numel():
        return 0.0
    if not expected.is_floating_point() and not expected.is_complex():  # classes, or bools
        found, expected = found.double(), expected.double()
    found, expected = at_least_float32(found), at_least_float32(expected)
    magnitude = expected.abs()
    moved = float((found - expected).abs().masked_fill(found == expected, 0.0).max())
    size = float(magnitude.masked_fill(magnitude == float("inf"), 0.0).max())
    return 0.0 if moved == 0 else moved / size if size else float("inf")
