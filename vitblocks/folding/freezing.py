"""Position parts as the tables that they give for one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from ..attention.base import Attention, reads_queries
from ..grid import Grid, length
from ..position.learned import add_positions
from ..position.rotary import Rotary2d, turn
from .declared import behaves_as, child
from .owners import Owners, hooked
from .reading import known
from .report import Fold

Calls: TypeAlias = Mapping[nn.Module, list[tuple[Any, ...]]]
"""The arguments that modules were called with."""


class FrozenBias(nn.Module):
    """What a position bias gives for the grids that it was frozen for: ``position_bias(grid, prefix) -> (heads, n, m)``.

    Raises:
        ValueError: in ``forward``, for any other grid or number of prefix tokens.
    """

    def __init__(self, bias: nn.Module, calls: list[tuple[Grid, int]]) -> None:
        super().__init__()
        self.kind = type(bias).__name__
        self.calls = list(dict.fromkeys(calls))
        for i, (grid, prefix) in enumerate(self.calls):
            self.register_buffer(f"table{i}", bias(grid, prefix).detach().contiguous())

    def forward(self, grid: Grid, prefix: int = 0) -> Tensor:
        for i, call in enumerate(self.calls):
            if call == (tuple(grid), prefix):
                table = getattr(self, f"table{i}")
                assert isinstance(table, Tensor)
                return table
        frozen = " or ".join(f"grid {grid} after {prefix} prefix token(s)" for grid, prefix in self.calls)
        raise ValueError(
            f"this {self.kind} was frozen for {frozen}, got grid {tuple(grid)} after {prefix}: fold the model again "
            "with a sample of the size wanted"
        )

    def extra_repr(self) -> str:
        return f"{self.kind} for {self.calls}"


class FrozenPosition(nn.Module):
    """The positions of one grid, added to the tokens: ``(B, N, dim)`` kept.

    Raises:
        ValueError: in ``forward``, for any other grid.
    """

    def __init__(self, position: Any, grid: Grid) -> None:
        super().__init__()
        self.kind = type(position).__name__
        self.grid = tuple(grid)
        self.num_prefix = position.num_prefix
        self.register_buffer("table", position.positions(grid).detach().clone())

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if tuple(grid) != self.grid:
            raise ValueError(
                f"this {self.kind} was frozen for grid {self.grid}, got {tuple(grid)}: fold the model again "
                "with a sample of the size wanted"
            )
        assert isinstance(self.table, Tensor)
        return add_positions(x, grid, self.table, self.num_prefix)

    def extra_repr(self) -> str:
        return f"{self.kind} for {self.grid}"


class FrozenRotary(nn.Module):
    """What rotary positions turn queries and keys by, on the grids that they were frozen for: ``rotary(q, k, grid) -> (q, k)``.

    Raises:
        ValueError: in ``forward``, for any other grid or number of tokens.
    """

    def __init__(self, rotary: Rotary2d, calls: Iterable[tuple[Grid, int]], like: Tensor) -> None:
        super().__init__()
        self.kind = type(rotary).__name__
        self.pairs = rotary.pairs
        self.calls = list(dict.fromkeys(calls))
        for i, (grid, tokens) in enumerate(self.calls):
            cos, sin = rotary.tables(grid, tokens, like)
            self.register_buffer(f"cos{i}", cos.contiguous())
            self.register_buffer(f"sin{i}", sin.contiguous())

    def forward(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        return turn(q, *self.tables(grid, q), self.pairs), turn(k, *self.tables(grid, k), self.pairs)

    def tables(self, grid: Grid, x: Tensor) -> tuple[Tensor, Tensor]:
        for i, call in enumerate(self.calls):
            if call == (tuple(grid), length(x, -2)):
                return getattr(self, f"cos{i}"), getattr(self, f"sin{i}")
        frozen = " or ".join(f"{tokens} tokens on grid {grid}" for grid, tokens in self.calls)
        raise ValueError(
            f"this {self.kind} was frozen for {frozen}, got {x.shape[-2]} on grid {tuple(grid)}: fold the model again "
            "with a sample of the size wanted"
        )

    def extra_repr(self) -> str:
        return f"{self.kind} for {self.calls}"


def only_turns(rotary: nn.Module | None) -> bool:
    """Whether a rotary part is none, or turns queries and keys, which leaves factors what they are: one of somebody's own may do more."""
    return rotary is None or behaves_as(rotary, Rotary2d) or behaves_as(rotary, FrozenRotary)


def is_position(parent: nn.Module, name: str) -> bool:
    """Whether the child of this name is a part that can be frozen."""
    if name == "position_bias" and isinstance(parent, Attention):
        bias = parent.position_bias
        return bias is not None and type(bias) is not FrozenBias and not reads_queries(bias)
    if name == "rotary" and isinstance(parent, Attention):
        return behaves_as(child(parent, name), Rotary2d)
    return bool(known(getattr(parent, name), "adds_positions"))


def freeze(model: nn.Module, owners: Owners, calls: Calls) -> Iterator[Fold]:
    """Replace the position parts that were called by what they give."""
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if not is_position(parent, name) or not calls.get(part) or any(hooked(inner) for inner in part.modules()):
                continue
            if name == "position_bias":
                new: nn.Module = FrozenBias(part, [_grid_and_prefix(*call) for call in calls[part]])
                rule = "position bias materialised"
            elif name == "rotary":
                new, rule = _frozen_rotary(part, calls[part]), "rotary tables frozen"
            else:
                grids = {tuple(grid) for _, grid in calls[part]}
                if len(grids) != 1:
                    continue
                new, rule = FrozenPosition(part, grids.pop()), "position table frozen"
            setattr(parent, name, new.eval())
            yield Fold(rule, owners.name(part), owners.name(parent))


def _frozen_rotary(rotary: nn.Module, calls: list[tuple[Any, ...]]) -> FrozenRotary:
    assert isinstance(rotary, Rotary2d)
    return FrozenRotary(rotary, [(tuple(grid), x.shape[-2]) for q, k, grid in calls for x in (q, k)], calls[0][0])


def _grid_and_prefix(grid: Grid, prefix: int = 0) -> tuple[Grid, int]:
    return tuple(grid), prefix
