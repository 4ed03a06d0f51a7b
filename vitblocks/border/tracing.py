"""Where two models begin to differ that have the same weights under other names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from einops import rearrange
from torch import Tensor, nn

from ..checkpoint.convert import pairing_of
from ..folding.report import relative_error
from ..inspect.frames import tensors

if TYPE_CHECKING:
    from .origin import Origin


def first_difference(origin: Origin, theirs: nn.Module, ours: nn.Module, images: Tensor, bound: float) -> str:
    """Run both and say where they first differ: ``"first in blocks.3 (stages.0.layers.5 here), by 2.1e-01"``."""
    places = list(_places(origin, theirs, ours))
    given: dict[tuple[str, str], Tensor] = {}
    with ExitStack() as hooks:
        for their_name, our_name in places:
            for side, module in (("theirs", theirs.get_submodule(their_name)), ("ours", ours.get_submodule(our_name))):
                hooks.callback(module.register_forward_hook(_keep(given, (side, our_name))).remove)
        origin.call(theirs, images)
        origin.own(ours, images)
    compared = 0
    for their_name, our_name in places:
        found, expected = given.get(("ours", our_name)), given.get(("theirs", our_name))
        if found is None or expected is None or found.shape != expected.shape:
            continue
        compared += 1
        if not (error := relative_error(found, expected)) <= bound:
            return f"first in {their_name} ({our_name} here), by {error:.1e}"
    return f"after all of the {compared} blocks, which give the same"


def _keep(given: dict[tuple[str, str], Tensor], key: tuple[str, str]) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        first = next(tensors(output), None)
        if first is not None:
            given[key] = rearrange(first, "b c h w -> b (h w) c") if first.dim() == 4 else first

    return hook


def _places(origin: Origin, theirs: nn.Module, ours: nn.Module) -> Iterator[tuple[str, str]]:
    """Modules of theirs and of ours that hold the same weights: the embedder, then block after block."""
    pairs = pairing_of(ours, origin.layout).pairs
    modules = {name for name, _ in theirs.named_modules() if name}
    blocks = [name for name, _ in getattr(ours, "blocks", list)()]
    for ours_name in ["embed", *blocks, "norm"]:
        keys = [key for pair in pairs if pair.ours[0].startswith(f"{ours_name}.") for key in pair.theirs]
        if (shared := _owner_of_all(keys)) in modules:
            yield shared, ours_name


def _owner_of_all(keys: list[str]) -> str:
    """The innermost module that holds all of these parameters; ``""`` of none, and where only the whole model does."""
    paths = [key.split(".")[:-1] for key in keys]
    shared = takewhile(lambda parts: len({*parts}) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)
