"""Which layers of a model are meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from torch import nn

from ..model import Model, Stage
from .attention import ATTENTION
from .family import Family, Options
from .feedforward import FEEDFORWARD
from .norm import NORM
from .pool import POOL
from .position import POSITION, POSITION_BIAS

To: TypeAlias = type[nn.Module] | Callable[[Any], nn.Module]
Where: TypeAlias = str | int | slice | Collection[int] | Callable[[str, Any], bool] | None

FAMILIES = (ATTENTION, FEEDFORWARD, NORM, POSITION, POSITION_BIAS, POOL)


class Order(NamedTuple):
    """One layer to replace, its family, and by what."""

    name: str
    old: nn.Module
    family: Family
    to: To
    options: Options


def place_orders(model: nn.Module, family: str | type, to: object, where: Where, options: Options) -> list[Order]:
    """What :func:`~vitblocks.surgery.swap` is asked for, layer by layer.

    Raises:
        TypeError: ``family``, ``to`` or ``where`` is of no use.
        ValueError: nothing matches, or a depth lies outside the blocks.
    """
    kind = family if isinstance(family, type) else nn.Module
    # A factory such as vitblocks.RMSNorm is a class with some of its options.
    factory = to
    if isinstance(factory, partial) and isinstance(factory.func, type) and not factory.args:
        to, options = factory.func, {**factory.keywords, **options}
    families = fitting(families_of(family), to, options)
    assert callable(to)
    found = [
        Order(name, module, member, to, options)
        for member in families
        for name, module in members(model, member)
        if isinstance(module, kind)
    ]
    order = {name: i for i, (name, _) in enumerate(model.named_modules())}
    found.sort(key=lambda asked: order[asked.name])
    picked = pick(model, found, where)
    if not picked:
        listed = "\n".join(f"  {o.name or '(the model itself)'}: {type(o.old).__name__}" for o in found)
        raise ValueError(f"where={where!r} matches no {families[0].name}; there are:\n{listed or '  none'}")
    return picked


def families_of(family: object) -> list[Family]:
    """The families of a name, or those that a class belongs to or is a base of.

    Raises:
        ValueError: no family is called so.
        TypeError: the class is of none.
    """
    if isinstance(family, type):
        found = [f for f in FAMILIES if any(issubclass(family, k) or issubclass(k, family) for k in f.kinds)]
        if len({f.name for f in found}) != 1:
            raise TypeError(f"family must be a name or a class of one family, got the class {family.__name__}")
        return found
    found = [f for f in FAMILIES if f.name == family]
    if not found:
        names = sorted({f.name for f in FAMILIES})
        raise ValueError(f"family must be one of {', '.join(names)}, or a class of layers, got {family!r}")
    return found


def fitting(families: list[Family], to: object, options: Options) -> list[Family]:
    """The families into which ``to`` can be swapped.

    Raises:
        TypeError: there is none, or a function comes with options.
    """
    title = families[0].title
    if not isinstance(to, type):
        if not callable(to):
            raise TypeError(f"to must be {title} class or a function old -> new, got {to!r}")
        if options:
            raise TypeError(f"options {sorted(options)} go to a class; the function {to!r} sets its own")
        return families
    found = [family for family in families if family.takes(to)]
    if not found:
        kinds = ", ".join(kind.__name__ for family in families for kind in family.kinds)
        raise TypeError(
            f"to must be {title} class that is a layer of its own (one of, or a subclass of: {kinds}), or a function old -> new, "
            f"got {to.__name__}"
        )
    return found


def members(model: nn.Module, family: Family) -> Iterator[tuple[str, nn.Module]]:
    """Every layer of a family with its name; of layers inside one another the outer one."""
    hidden = family.left_alone(model)
    for name, module in model.named_modules():
        if isinstance(module, family.kinds) and id(module) not in hidden:
            hidden = hidden | {id(part) for part in module.modules()}
            yield name, module


def pick(model: nn.Module, found: list[Order], where: Where) -> list[Order]:
    """Those that ``where`` means."""
    if where is None:
        embedding = embedders(model)
        return [asked for asked in found if id(asked.old) not in embedding]
    if isinstance(where, str):
        return [asked for asked in found if fnmatchcase(asked.name, where)]
    if callable(where) and not isinstance(where, type):
        return [asked for asked in found if where(asked.name, asked.old)]
    inside = {id(part) for block in _at_depth(blocks(model), where) for part in block.modules()}
    return [asked for asked in found if id(asked.old) in inside]


def embedders(model: nn.Module) -> set[int]:
    """Everything inside of what makes tokens of an image."""
    parts = [module.embed for module in model.modules() if isinstance(module, Model)]
    # Of a model of several towers each has its own.
    parts += [
        found for module in model.modules() if isinstance(found := getattr(module, "embeds", None), nn.ModuleList)
    ]
    return {id(inner) for part in parts for inner in part.modules()}


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that depth counts: a Model's own, else the blocks of all stages inside, else what holds an attention itself."""
    if isinstance(model, Model):
        return [block for _, block in model.blocks()]
    stages = [module for module in model.modules() if isinstance(module, Stage)]
    if stages:
        return [block for stage in stages for _, block in stage.blocks()]
    kept = {id(attention) for _, attention in members(model, ATTENTION)}
    return [module for module in model.modules() if any(id(child) in kept for child in module.children())]


def _at_depth(found: list[nn.Module], where: object) -> Iterator[nn.Module]:
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
