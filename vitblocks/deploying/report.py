"""What deploying did to a model, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DeployReport:
    """What :func:`vitblocks.deploy` did.

    Attributes:
        runtime: the one that runs the model.
        dtype: what it computes in, ``"float32"`` or ``"bfloat16"``.
        int8: whether its products are of whole numbers.
        error: the largest difference of an output from the model's own on the sample, over the largest magnitude of that output.
        bound: what the error may be at most.
        folds: how many times each rule of :func:`vitblocks.fold` was applied.
        milliseconds: of the process, by runtime, for one call with the sample; empty unless several were measured.
        passed_over: why others were not measured, by runtime.
    """

    runtime: str
    dtype: str
    int8: bool
    error: float
    bound: float
    folds: Mapping[str, int] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    passed_over: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.runtime}, {self.dtype}{', int8' if self.int8 else ''}: off by {self.error:.1e} of the largest output "
            f"(at most {self.bound:.1e})"
        ]
        lines += [f"{ms:10.2f} ms  {name}" for name, ms in sorted(self.milliseconds.items(), key=lambda item: item[1])]
        lines += [f"{'':13}  {name}: {why}" for name, why in self.passed_over.items()]
        return "\n".join([*lines, *(f"{count:4d} x {rule}" for rule, count in self.folds.items())])
