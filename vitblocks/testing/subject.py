"""What is checked, the tokens it is checked on, and how far numbers may lie apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..grid import Grid

Source: TypeAlias = nn.Module | Callable[[], nn.Module]
PrefixCounts: TypeAlias = Sequence[int] | Callable[[Grid], Sequence[int]]
Call: TypeAlias = Callable[[nn.Module, Tensor, Grid], Tensor]

GRIDS: tuple[Grid, ...] = ((4, 6), (7, 5), (3, 3))
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
TOLERANCES: Mapping[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""How far outputs may lie apart, as the norm of the difference over the norm of the float64 output."""


@dataclass(frozen=True)
class Case:
    """Tokens to run on."""

    x: Tensor
    grid: Grid
    prefix: int

    def __str__(self) -> str:
        return f"grid {self.grid}, {self.prefix} prefix token(s)"


class Subject:
    """A copy of what is checked, on the CPU, in float64 and eval mode, and the means to say what is wrong with it."""

    def __init__(self, source: Source, noise: float, tolerances: Mapping[torch.dtype, float]) -> None:
        # A factory may return the same module each time: a copy of it is taken too.
        module = deepcopy(source if isinstance(source, nn.Module) else source())
        if not isinstance(module, nn.Module):
            raise TypeError(f"expected an nn.Module or a function that makes one, got {type(module).__name__}")
        self.name = type(module).__name__
        self.tolerances = tolerances
        self.module = module.cpu().double().eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=noise)

    def fresh(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """A copy that no check has run yet: what a module remembers shows in the check that looks for it."""
        return deepcopy(self.module).to(dtype)

    def require(self, holds: bool, rule: str, case: object, detail: str) -> None:
        if not holds:
            raise AssertionError(f"{self.name} breaks the rule that {rule} ({case}): {detail}")

    def require_close(self, got: Tensor, expected: Tensor, rule: str, case: object, dtype: torch.dtype) -> None:
        error = float((got.detach().double() - expected.detach().double()).norm())
        allowed = self.tolerances[dtype] * max(float(expected.detach().double().norm()), 1e-6)
        # Not "error > allowed": a NaN must fail.
        self.require(error <= allowed, rule, case, f"the norm of the difference is {error:.3g}, at most {allowed:.3g}")

    def require_value_error(self, run: Callable[[], object], what: str, case: object) -> None:
        try:
            run()
        except ValueError:
            return
        except Exception as error:
            raise AssertionError(f"{self.name} must raise ValueError for {what} ({case}), raised {error!r}") from error
        raise AssertionError(f"{self.name} must raise ValueError for {what} ({case}), it raised nothing")


def normal(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cases_of(grids: Sequence[Grid], prefix: PrefixCounts, dim: int) -> Iterator[Case]:
    for grid in grids:
        for count in prefix(grid) if callable(prefix) else prefix:
            # Representable in every dtype, so that all of them run on the same numbers.
            x = normal((3, count + prod(grid), dim), count + prod(grid)).bfloat16().double()
            yield Case(x, grid, count)
