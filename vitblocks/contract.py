"""What may stand where: a part is checked against the layer contract where it is put, so that the error names that place.

Whether a module is a layer, a transition or an embedder is read from its ``forward``: how many arguments it takes, and whether it says
that it returns a pair. What says nothing (``*args``, no annotation) is taken as it comes, and checked when it has been called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import Signature, signature
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .checks import check_module
from .grid import Grid

M = TypeVar("M", bound=nn.Module)


def require_module(part: object, place: str) -> None:
    """Raise TypeError unless ``part`` is a module, and not its class, a factory or None."""
    check_module(place, part)


def require_layer(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` can be called as ``layer(x, grid) -> x``, as far as it says how it is called."""
    require_module(part, place)
    if not _takes(part, 2):
        if gives_pair(part):
            raise TypeError(f"{_named(part, place)} takes an image, it is an embedder: give it as embed=")
        raise TypeError(
            f"{_named(part, place)} cannot be called as layer(x, grid): one that takes x alone is PerToken({type(part).__name__}(...))"
        )
    if gives_pair(part):
        raise TypeError(f"{_named(part, place)} gives (x, grid), it is a transition: give it as transition=")


def require_transition(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` can be called as ``transition(x, grid) -> (x, grid)``, as far as it says."""
    require_module(part, place)
    if not _takes(part, 2):
        raise TypeError(
            f"{_named(part, place)} cannot be called as transition(x, grid): Downsample wraps a map -> map module"
        )
    if gives_pair(part) is False:
        raise TypeError(f"{_named(part, place)} gives x alone, it is a layer: put it among the layers")


def require_embedder(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` can be called as ``embed(image) -> (x, grid)``, as far as it says."""
    require_module(part, place)
    if not _takes(part, 1):
        raise TypeError(
            f"{_named(part, place)} is called with a grid, an embedder with an image alone: put it into a Stage"
        )
    if gives_pair(part) is False:
        raise TypeError(f"{_named(part, place)} gives no grid: MapEmbed makes an embedder of a map -> map module")


def require_pool(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` can be called as ``pool(x, grid) -> features``, as far as it says."""
    require_module(part, place)
    if not _takes(part, 2):
        raise TypeError(f"{_named(part, place)} cannot be called as pool(x, grid)")
    if gives_pair(part):
        raise TypeError(f"{_named(part, place)} gives (x, grid), it is a transition: give it to a Stage as transition=")


def require_plain(part: Any, place: str) -> None:
    """Raise TypeError unless ``part`` can be called as ``part(x)``, like a norm, a head or a map -> map module, as far as it says."""
    require_module(part, place)
    if not _takes(part, 1):
        raise TypeError(f"{_named(part, place)} cannot be called with x alone: it wants a grid, as a layer does")


def made(factory: Callable[[int], nn.Module], dim: int, place: str) -> nn.Module:
    """What a factory ``dim -> module`` makes.

    Raises:
        TypeError: ``factory`` is a finished module, or does not make one that is called with x alone.
    """
    given: object = factory
    if isinstance(given, nn.Module) or not callable(given):
        what = f"a finished {type(given).__name__}" if isinstance(given, nn.Module) else repr(given)
        raise TypeError(f"{place} must be a factory dim -> module, such as LayerNorm or layer_norm(1e-5), got {what}")
    module = factory(dim)
    require_plain(module, f"what {place} makes")
    return module


def listed(parts: Iterable[M], place: str) -> list[M]:
    """A list of the parts.

    Raises:
        TypeError: ``parts`` is no list, but a part itself.
    """
    if not isinstance(parts, Iterable) or isinstance(parts, (str, bytes, Mapping)):
        raise TypeError(f"{place} must be a list, got one {type(parts).__name__}: write [{type(parts).__name__}(...)]")
    return list(parts)


def token_pair(given: Any, part: nn.Module, place: str) -> tuple[Tensor, Grid]:
    """What an embedder or a transition gave, if it is ``(x, grid)``; raises TypeError otherwise."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{_named(part, place)} must return (x, grid), it returned {_said(given)}")
    return given[0], given[1]


def tokens(given: Any, part: nn.Module, place: str) -> Tensor:
    """What a layer gave, if it is ``x``; raises TypeError otherwise."""
    if isinstance(given, Tensor):
        return given
    hint = ": a transition is given as transition=" if isinstance(given, tuple) else ""
    raise TypeError(f"{_named(part, place)} must return x, it returned {_said(given)}{hint}")


def called(part: nn.Module, place: str, x: Tensor, grid: Grid) -> Any:
    """``part(x, grid)``, whose complaint about what it is given says where the part stands: ``stages[1].layers[0] (Block): ...``."""
    if torch.compiler.is_compiling():
        return part(x, grid)
    try:
        return part(x, grid)
    except (ValueError, TypeError) as error:
        if type(error) not in (
            ValueError,
            TypeError,
        ):  # a subclass may be made otherwise, and means something of its own
            raise
        inner = str(error).startswith(("layers[", "transition"))
        raise type(error)(f"{place}.{error}" if inner else f"{_named(part, place)}: {error}") from error


def gives_pair(part: nn.Module) -> bool | None:
    """Whether ``forward`` is annotated to return a tuple; None if it does not say, or may return either."""
    returned = _forward_of(part).return_annotation
    said = returned if isinstance(returned, str) else getattr(returned, "__name__", str(returned))
    return True if said.lower().startswith("tuple") else False if said.endswith("Tensor") else None


def _takes(part: nn.Module, count: int) -> bool:
    """Whether ``forward`` can be called with so many arguments; True where that cannot be told."""
    try:
        _forward_of(part).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _forward_of(part: nn.Module) -> Signature:
    try:
        return signature(part.forward)
    except (TypeError, ValueError):  # built in, scripted
        return signature(lambda *args, **kwargs: None)


def _named(part: nn.Module, place: str) -> str:
    return f"{place} ({type(part).__name__})"


def _said(given: Any) -> str:
    if isinstance(given, (tuple, list)):
        return f"a {type(given).__name__} of {len(given)}"
    return f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else repr(given)
