"""What attentions of a model are given and give while it runs, and the shortcut that takes it up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..folding.declared import declared
from ..grid import Grid
from ..inspect.frames import Enough, evaluating, in_this_thread
from ..residual import Shortcut


@dataclass
class Seen:
    """One call of an attention: what it was given, what it gave, and the stream before and after its shortcut, where it has one."""

    x: Tensor
    grid: Grid
    y: Tensor
    before: Tensor | None = None
    after: Tensor | None = None


def token_weights(x: Tensor, grid: Grid) -> Tensor:
    """How much the tokens of ``x (B, N, C)`` count, ``(N,)``: prefix tokens together as much as all patches.

    The answer is read off the class token. Counted as one of many, it would be what is given up first.
    """
    patches = prod(grid)
    prefix = x.shape[1] - patches
    weights = torch.ones(x.shape[1], dtype=x.dtype, device=x.device)
    if prefix and patches:
        weights[:prefix] = patches / prefix
    return weights


def shortcut_of(model: nn.Module, layer: str) -> Shortcut | None:
    """The shortcut that what a layer gives goes into, and nothing else, as the block around it declares."""
    parent, _, child = layer.rpartition(".")
    block = model.get_submodule(parent)
    taken: dict[str, str] = declared(block, "shortcuts") or {}
    name = next((name for name, source in taken.items() if source == child), None)
    found = None if name is None else getattr(block, name)
    return found if isinstance(found, Shortcut) else None


@contextmanager
def watching(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Seen]]:
    """Within the block, the last call of each of these attentions, by name."""
    seen: dict[str, Seen] = {}
    handles = []

    def note(layer: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], y: Tensor) -> None:
            seen[layer] = Seen(args[0], args[1], y)

        return hook

    def note_stream(layer: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], y: Tensor) -> None:
            seen[layer].before, seen[layer].after = args[0], y

        return hook

    try:
        for layer in layers:
            handles.append(model.get_submodule(layer).register_forward_hook(in_this_thread(note(layer))))
            shortcut = shortcut_of(model, layer)
            if shortcut is not None:
                handles.append(shortcut.register_forward_hook(in_this_thread(note_stream(layer))))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def look(model: nn.Module, images: Tensor, layer: str) -> Seen:
    """What one attention is given and gives, in evaluation; no layer behind its shortcut is run."""
    last = shortcut_of(model, layer) or model.get_submodule(layer)

    def stop(*_: Any) -> None:
        raise Enough

    with evaluating(model), watching(model, [layer]) as seen:
        handle = last.register_forward_hook(in_this_thread(stop))
        try:
            model(images)
        except Enough:
            pass
        finally:
            handle.remove()
    return seen[layer]
