"""Take the tokens out that a model makes on its way, with what is needed to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from ..fast.private import backward_pass
from ..grid import Grid, one_line, split_prefix, to_map, to_pair
from ..model import Model
from .frames import Enough, Frame, follow, in_this_thread, is_grid, named_parts, tensors, uncompiled
from .select import ModuleChoice, select_modules


@dataclass(frozen=True, eq=False)
class TokenRecord:
    """The tokens that one call of a module gave.

    Attributes:
        name: of the module.
        x: ``(B, P + prod(grid), C)``, prefix tokens first.
        grid: where the patches lie; None where ``x`` is only a part of the tokens, so that it is not known.
        stride: pixels of the image between two places of the grid, (down, right); None where it is no whole number or not known.
    """

    name: str
    x: Tensor
    grid: Grid | None
    stride: tuple[int, int] | None

    def __repr__(self) -> str:
        return one_line(self)

    @property
    def prefix(self) -> Tensor:
        """The prefix tokens ``(B, P, C)``: a view."""
        return split_prefix(self.x, self._grid())[0]

    @property
    def patches(self) -> Tensor:
        """The patches ``(B, prod(grid), C)``: a view."""
        return split_prefix(self.x, self._grid())[1]

    @property
    def map(self) -> Tensor:
        """The patches as a map ``(B, C, H, W)``, strided as channels-last. Raises ValueError where tokens were dropped."""
        return to_map(self.patches, self._grid())

    def _grid(self) -> Grid:
        if self.grid is None:
            raise ValueError(f"{self.name} gave a part of the tokens, {tuple(self.x.shape)}: they lie on no known grid")
        return self.grid


@contextmanager
def extract(
    model: nn.Module,
    layers: ModuleChoice,
    *,
    device: torch.device | str | None = None,
    detach: bool = False,
    stop: bool = False,
) -> Iterator[dict[str, TokenRecord]]:
    """Within ``with extract(model, layers) as tokens``, the modules named put what they give this thread in ``tokens``.

    The keys are the modules' names. Any module whose output is tokens ``(B, N, C)`` or ``(x, grid)`` will do: the embedder (``"embed"``),
    a stage (``"stages.1"``), a layer, an attention, a norm (``"norm"`` gives the final tokens). The grid is the module's own, or that of
    the layer around it. Calls after the first of a module have ``:1``, ``:2`` and so on after the name. Gradients flow. What was compiled
    runs uncompiled within the block. Hooks are gone after it; after an exception ``tokens`` is emptied.

    Args:
        model: any module.
        layers: names, patterns whose ``*`` stands for one part of a name (``"stages.*"`` is every stage), classes such as
            :class:`~vitblocks.model.Stage`, modules; one or several.
        device: where the tokens are kept; where they were made if None.
        detach: whether the tokens carry no gradients.
        stop: leave the block as soon as all of ``layers`` were called once: nothing behind them is run, be it of the model or of the block.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``layers`` names no module; in the model's forward: what a module gave is not tokens.
        RuntimeError: a module that was named was not called within the block.
    """
    parts = named_parts(model)
    chosen = select_modules(model, layers)
    keeper = _Keeper(model, frozenset(chosen), device, detach, stop)
    handles = []
    stack: list[Frame] = []
    try:
        # Before the hooks that end a call, so that a module finds its own call under way, and behind those that change what it gives.
        handles += [
            module.register_forward_hook(in_this_thread(keeper.hook(name, stack))) for name, module in chosen.items()
        ]
        handles += [module.register_forward_hook(in_this_thread(keeper.seen.note)) for module in parts.values()]
        with uncompiled(), follow(parts.values(), stack):
            yield keeper.tokens
    except Enough:
        pass
    except BaseException:
        keeper.tokens.clear()
        raise
    finally:
        for handle in handles:
            handle.remove()
    if keeper.missing:
        raise RuntimeError(f"extract got nothing from {sorted(keeper.missing)}: they were not called within the block")


class _Keeper:
    """Keeps what the modules chosen give."""

    def __init__(
        self, model: nn.Module, chosen: frozenset[str], device: torch.device | str | None, detach: bool, stop: bool
    ) -> None:
        self.model = model
        self.missing = set(chosen)
        self.device = device
        self.detach = detach
        self.stop = stop
        self.seen = _Seen()
        self.tokens: dict[str, TokenRecord] = {}
        self.within = backward_pass()

    def hook(self, name: str, stack: Sequence[Frame]) -> Callable[[nn.Module, Any, Any], None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            # What gradient checkpointing runs again in the backward pass was kept before.
            if backward_pass() != self.within:
                return
            x, grid = _tokens(name, output)
            grid = _grid(x, args, stack, self.seen) if grid is None else grid
            stride = _stride(self.model, name, x, grid, self.seen)
            x = (x.detach() if self.detach else x).to(x.device if self.device is None else self.device)
            count = sum(record.name == name for record in self.tokens.values())
            self.tokens[f"{name}:{count}" if count else name] = TokenRecord(name, x, grid, stride)
            self.missing.discard(name)
            if self.stop and not self.missing:
                raise Enough

        return keep


class _Seen:
    """What the model's own ``(x, grid)`` tell: the grids of tokens that are passed on alone, and the size of the image."""

    def __init__(self) -> None:
        self.grids: dict[int, tuple[ref[Tensor], Grid]] = {}
        self.image: tuple[int, ...] | None = None

    def note(self, module: nn.Module, args: Any, output: Any) -> None:
        for x, grid in token_pairs(output):
            self.grids[id(x)] = (ref(x), grid)
            first = next(tensors(args), None)
            if first is not None and first.dim() == 4:
                self.image = tuple(first.shape)

    def grid(self, x: Tensor) -> Grid | None:
        held, grid = self.grids.get(id(x), (None, None))
        return grid if held is not None and held() is x else None


def token_pairs(output: Any) -> Iterator[tuple[Tensor, Grid]]:
    if isinstance(output, tuple):
        if len(output) == 2 and isinstance(output[0], Tensor) and is_grid(output[1]):
            yield output[0], output[1]
        else:
            for part in output:
                yield from token_pairs(part)


def _tokens(name: str, output: Any) -> tuple[Tensor, Grid | None]:
    """Raises ValueError unless a module gave tokens, with or without a grid."""
    x, grid = next(token_pairs(output), (output, None))
    if not isinstance(x, Tensor) or x.dim() != 3:
        what = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"layers must name modules that give tokens (B, N, C), {name} gave {what}")
    return x, grid


def _grid(x: Tensor, args: Any, stack: Sequence[Frame], seen: _Seen) -> Grid | None:
    """The grid that tokens lie on which came without one: the module's own, or the grid of what it was given or of the layer around it."""
    own = stack[-1]
    if own.grid is not None:
        return own.grid if x.shape[1] >= prod(own.grid) else None
    given = next(tensors(args), None)
    known = None if given is None else seen.grid(given)
    if known is not None and given is not None and given.shape[:2] == x.shape[:2]:
        return known
    around = next((frame for frame in reversed(stack) if frame.grid is not None), None)
    return None if around is None or around.shape is None or around.shape[:2] != x.shape[:2] else around.grid


def _stride(model: nn.Module, name: str, x: Tensor, grid: Grid | None, seen: _Seen) -> tuple[int, int] | None:
    """The stride that the model gives for a stage, else the whole number of times that the grid goes into the image."""
    if grid is None or len(grid) != 2 or 0 in grid or seen.image is None or x.shape[0] != seen.image[0]:
        return None
    if isinstance(model, Model) and (own := _stage_stride(model, name)) is not None:
        return own
    sides = seen.image[2:]
    return (sides[0] // grid[0], sides[1] // grid[1]) if sides[0] % grid[0] == sides[1] % grid[1] == 0 else None


def _stage_stride(model: Model, name: str) -> tuple[int, int] | None:
    first, *rest = name.split(".")
    if name == "embed":
        return to_pair(getattr(model.embed, "stride", 1), "stride")
    if name == "norm":
        return model.strides[-1]
    whole_stage = first == "stages" and (
        len(rest) == 1 or rest[1:] == ["transition"] or (len(rest) == 3 and rest[1] == "layers")
    )
    return model.strides[int(rest[0])] if whole_stage else None
