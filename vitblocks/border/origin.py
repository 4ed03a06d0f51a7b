"""How a class of another library is read, found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from ..checkpoint.rules import KeyMap
from ..registry import list_parts, variants


def plain_call(module: nn.Module, images: Tensor) -> Tensor:
    """What a module gives for images when it is called with them alone."""
    output: Tensor = module(images)
    return output


@dataclass(frozen=True)
class Origin:
    """How modules of one class of another library become models of ours.

    Args:
        layout: whose keys their ``state_dict`` has, a layout of the class that ``read`` gives or a key map.
        read: ``(build, module of theirs) -> model of ours`` with its settings and fresh weights, where ``build`` is the class that has this
            origin. Raises ValueError for a setting that no part has.
        call: ``(module, images) -> tensor``, what corresponds to a call of ours.
        own: ``(model of ours, images) -> tensor``, where it is not called with images alone.
        fits: whether a module is of the class, told by what it has, for a class that everyone imports under a name of their own. None: it
            is by the class's name.
    """

    layout: str | KeyMap
    read: Callable[[Any, Any], nn.Module]
    call: Callable[[Any, Tensor], Tensor] = plain_call
    own: Callable[[Any, Tensor], Tensor] = plain_call
    fits: Callable[[nn.Module], bool] | None = None


def origin_of(module: nn.Module) -> tuple[type[nn.Module], Origin]:
    """The class that a module becomes and its :class:`Origin`, by the module's class, its nearest parent that is known, or by what it has.

    Raises:
        TypeError: not a module.
        ValueError: no class of ours knows it; the message lists what is known.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a live model of another library, an nn.Module, got {type(module).__name__}")
    known = origins()
    for cls in type(module).__mro__:
        found = known.get(f"{cls.__module__}.{cls.__qualname__}")
        if found is not None and found[1].fits is None:
            return found
    for found in known.values():
        if found[1].fits is not None and found[1].fits(module):
            return found
    raise ValueError(
        f"module must be of a class that can be adopted, got {type(module).__module__}.{type(module).__qualname__}; those are: "
        f"{', '.join(sorted(known))}. For weights alone, build the model and use vitblocks.checkpoint.load"
    )


def origins() -> dict[str, tuple[type[nn.Module], Origin]]:
    """Every class of another library that can be read, by its full name, and the class of ours that it becomes."""
    _all_papers()
    known: dict[str, tuple[type[nn.Module], Origin]] = {}
    for part in list_parts().values():
        if isinstance(part, type) and issubclass(part, nn.Module):
            own: Mapping[str, Origin] = vars(part).get("origins", {})
            known |= {name: (part, origin) for name, origin in own.items()}
    return known


@cache
def _all_papers() -> None:
    """Import every paper of the zoo, so that its classes are registered."""
    variants()
