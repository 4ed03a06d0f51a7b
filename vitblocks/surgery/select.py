"""Which attentions of a model are meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from ..attention import Attention, DownsamplingAttention
from ..model import Model, Stage, is_block
from ..pool import AttentionPool

Named: TypeAlias = tuple[str, Attention]
Where: TypeAlias = str | int | slice | Collection[int] | Callable[[str, Attention], bool] | None


def attentions(model: nn.Module) -> list[Named]:
    """Every attention that is a layer ``(x, grid) -> x``, with its name: poolers and downsamplers are none."""
    poolers = {id(part) for m in model.modules() if isinstance(m, Model) for part in m.pool.modules()}
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
        and not isinstance(module, (AttentionPool, DownsamplingAttention))
        and id(module) not in poolers
    ]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that depth counts: a Model's own, else the blocks of all stages inside, else what holds an attention itself."""
    if isinstance(model, Model):
        return [block for _, block in model.blocks()]
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    if stages:
        return [layer for stage in stages for layer in stage.layers if is_block(layer)]
    kept = {id(attention) for _, attention in attentions(model)}
    return [module for module in model.modules() if any(id(child) in kept for child in module.children())]


def select_attentions(model: nn.Module, where: Where) -> list[Named]:
    """The attentions that ``where`` picks; see :func:`~vitblocks.surgery.swap_attention`.

    Raises:
        TypeError: ``where`` is none of the kinds it may be.
        ValueError: nothing matches, or a depth lies outside the blocks.
    """
    everything = attentions(model)
    if isinstance(where, str):
        found = [(name, module) for name, module in everything if fnmatchcase(name, where)]
    elif callable(where) and not isinstance(where, type):
        found = [(name, module) for name, module in everything if where(name, module)]
    else:
        inside = {id(part) for block in _at_depth(blocks(model), where) for part in block.modules()}
        found = [(name, module) for name, module in everything if id(module) in inside]
    if not found:
        listed = "\n".join(f"  {name or '(the model itself)'}: {type(module).__name__}" for name, module in everything)
        raise ValueError(f"where={where!r} matches no attention; there are:\n{listed or '  none'}")
    return found


def _at_depth(found: list[nn.Module], where: object) -> Iterator[nn.Module]:
    if where is None:
        yield from found
        return
    if isinstance(where, slice):
        yield from found[where]
        return
    depths = [where] if isinstance(where, int) else list(where) if isinstance(where, Collection) else [where]
    for depth in depths:
        if not isinstance(depth, int) or isinstance(depth, bool):
            raise TypeError(
                "where must be None, a name pattern, a depth, a slice or collection of depths, or a function "
                f"(name, module) -> bool, got {where!r}"
            )
        if not -len(found) <= depth < len(found):
            raise ValueError(f"where={where!r}: depth {depth} lies outside the {len(found)} blocks")
        yield found[depth]
