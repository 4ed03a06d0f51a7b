"""What fusing did to a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

PLAIN = "plain"
"""The way in which PyTorch computes a product by itself."""


@dataclass(frozen=True)
class Fold:
    """One thing that was folded into another: both are names of modules in the model."""

    rule: str
    source: str
    into: str


@dataclass(frozen=True)
class Packing:
    """How a product of the model is computed from now on.

    Args:
        name: of the module.
        shape: what was measured: rows and widths of a linear, or sizes of a convolution.
        way: the way that was chosen.
        seconds: of every way that was measured, for one call on the sample; empty where nothing was measured.
    """

    name: str
    shape: str
    way: str
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def speedup(self) -> float | None:
        """How much faster the chosen way was than PyTorch's own; None where nothing was measured."""
        return self.seconds[PLAIN] / self.seconds[self.way] if self.seconds else None


@dataclass
class FusionReport:
    """What :func:`vitblocks.fuse` did.

    ``drift`` is the largest difference of the outputs on the sample over their largest magnitude; None without a sample.
    ``unpacked`` says why nothing was packed; None where packing was tried.
    """

    folds: list[Fold] = field(default_factory=list)
    packings: list[Packing] = field(default_factory=list)
    drift: float | None = None
    unpacked: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many times each rule was applied."""
        return dict(Counter(fold.rule for fold in self.folds))

    @property
    def ways(self) -> dict[str, int]:
        """How many products are computed in each way."""
        return dict(Counter(packing.way for packing in self.packings))

    def __str__(self) -> str:
        lines = [f"{count:4d} x {rule}" for rule, count in self.counts.items()] or ["nothing to fold"]
        if self.unpacked is not None:
            lines.append(f"not packed: {self.unpacked}")
        seen: dict[tuple[str, str], list[Packing]] = {}
        for packing in self.packings:
            seen.setdefault((packing.shape, packing.way), []).append(packing)
        for (shape, way), alike in seen.items():
            gain = "" if alike[0].speedup is None else f", {alike[0].speedup:.2f} times as fast"
            lines.append(f"{len(alike):4d} x {shape}: {way}{gain}")
        if self.drift is not None:
            lines.append(f"outputs moved by {self.drift:.1e} of their largest")
        return "\n".join(lines)
