"""One window order for blocks of windowed attention: tokens are gathered where the order changes, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import WindowAttention
from ..attention.base import reads_queries
from ..grid import Grid
from ..model import Stage
from .branches import Branch, branches, each_alike
from .declared import behaves_as
from .freezing import Calls
from .owners import Owners
from .report import Fold


class WindowStep(nn.Module):
    """A block whose tokens stand window by window: ``(B, N, dim) -> (B, N, dim)``, windows one after the other.

    Args:
        branch: the branch of the attention.
        others: what comes after it, token by token.
        grid: of all tokens, which divides into whole windows.
        gather: the tokens of the step before in the order of this one, ``(N,)``; None where the order is the same.
    """

    calls_parts_of = "attn"
    gather: Tensor | None
    bias: Tensor | None

    def __init__(
        self, branch: Branch, others: Sequence[nn.Module], grid: tuple[int, int], gather: Tensor | None
    ) -> None:
        super().__init__()
        attn = branch.layer
        assert isinstance(attn, WindowAttention)
        self.norm, self.attn, self.shortcut = branch.norm, attn, branch.shortcut
        self.window = attn.windows.window(grid)
        self.groups = prod(grid) // prod(self.window)
        like = next(branch.parameters())
        self.register_buffer("gather", gather)
        self.register_buffer("bias", attn.bias(self.window, 0, attn.windows.mask(grid, like)))
        attn.position_bias = None
        self.others = nn.ModuleList(others)

    def forward(self, x: Tensor) -> Tensor:
        if self.gather is not None:
            x = x.index_select(1, self.gather)
        tokens = rearrange(self.norm(x), "b (g n) c -> b g n c", g=self.groups)
        q, k, v = self.attn.project(tokens, self.window)
        update = self.attn.output(self.attn.attend(q, k, v, self.bias))
        x = self.shortcut(x, rearrange(update, "b g n c -> b (g n) c"))
        for layer in self.others:
            x = layer(x, (0, 0))
        return x


class WindowOrder(nn.Module):
    """Blocks of windowed attention in a row, for one grid: ``layer(x, grid) -> x``.

    What is inside, norms, feed-forwards and shortcuts, treats every token alike, so that tokens can stand in any order. Position bias and
    mask of each block are one tensor.

    Raises:
        ValueError: in ``forward``, for another grid, or with prefix tokens.
    """

    back: Tensor | None

    def __init__(self, steps: Sequence[WindowStep], grid: tuple[int, int], back: Tensor | None) -> None:
        super().__init__()
        self.grid = grid
        self.steps = nn.ModuleList(steps)
        self.register_buffer("back", back)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        if tuple(grid) != self.grid or x.shape[1] != prod(self.grid):
            raise ValueError(
                f"these windows were frozen for grid {self.grid}, got {x.shape[1]} tokens on grid {tuple(grid)}: "
                "fold the model again with a sample of the size wanted"
            )
        for step in self.steps:
            x = step(x)
        return x if self.back is None else x.index_select(1, self.back)

    def extra_repr(self) -> str:
        return f"grid={self.grid}"


def order_windows(model: nn.Module, owners: Owners, calls: Calls) -> Iterator[Fold]:
    """Blocks in a row of a Stage, the first branch of which attends in windows that fill the grid, keep their tokens window by window."""
    for stage in list(model.modules()):
        if not behaves_as(stage, Stage):
            continue
        layers: list[nn.Module] = []
        for grid, run in _runs(list(stage.layers), owners, calls):
            if grid is None or len(run) < 2:
                layers += run
                continue
            names = [owners.name(layer) for layer in run]
            layers.append(_ordered(run, grid).eval().requires_grad_(False))
            yield Fold("windows in one order", " and ".join(names), owners.name(stage))
        if len(layers) < len(stage.layers):
            stage.layers = nn.ModuleList(layers)


def _runs(
    layers: list[nn.Module], owners: Owners, calls: Calls
) -> Iterator[tuple[tuple[int, int] | None, list[nn.Module]]]:
    """Layers in a row that attend in windows of one grid; all others under None."""
    found = [(_grid_of(layer, calls) if owners.alone(layer) else None, layer) for layer in layers]
    for grid, run in groupby(found, key=lambda pair: pair[0]):
        yield grid, [layer for _, layer in run]


def _grid_of(layer: nn.Module, calls: Calls) -> tuple[int, int] | None:
    """The one grid that a block of windowed attention was called with; None where it is no such block, or windows do not fill the grid."""
    first, *others = branches(layer)
    if not isinstance(first, Branch) or not all(each_alike(part) for part in (first.norm, first.shortcut, *others)):
        return None
    attn = first.layer
    if not behaves_as(attn, WindowAttention) or reads_queries(attn.position_bias):
        return None
    grids = {(tuple(grid), x.shape[1]) for x, grid in calls.get(attn, [])}
    if len(grids) != 1:
        return None
    grid, tokens = grids.pop()
    whole = len(grid) == 2 and prod(grid) == tokens > 0 and attn.windows.padded(grid) == grid
    return (grid[0], grid[1]) if whole else None


def _ordered(layers: list[nn.Module], grid: tuple[int, int]) -> WindowOrder:
    device = next(layers[0].parameters()).device
    rows = torch.arange(prod(grid), device=device)
    steps, before = [], rows
    for layer in layers:
        first, *others = branches(layer)
        assert isinstance(first, Branch)
        assert isinstance(first.layer, WindowAttention)
        order = rearrange(first.layer.windows.split(rearrange(rows, "n -> 1 n 1"), grid), "1 g n 1 -> (g n)")
        steps.append(WindowStep(first, others, grid, _change(before, order)))
        before = order
    return WindowOrder(steps, grid, _change(before, rows))


def _change(before: Tensor, after: Tensor) -> Tensor | None:
    """Where tokens that stand in one order are found for another; None where that is the same."""
    return None if torch.equal(before, after) else before.argsort()[after]
