"""Wrappers around a model: what compiling it, or training it in parallel, puts around it."""

from __future__ import annotations

from torch import nn

COMPILED = "_orig_mod"
"""The name under which a compiled module holds what it was made of."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of what ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` made of it; itself if it is none."""
    while inner := _wrapped_name(model):
        model = getattr(model, inner)
    return model


def plain_names(model: nn.Module) -> dict[str, str]:
    """The keys of the state_dict, each with what it would be if no part of the model was wrapped."""
    return {key: plain_name(model, key) for key in model.state_dict()}


def plain_name(model: nn.Module, name: str) -> str:
    """The name of a module or an entry inside of ``model``, without the wrappers on the way to it."""
    plain = []
    place: object = model
    for part in name.split("."):
        if not (isinstance(place, nn.Module) and part == _wrapped_name(place)):
            plain.append(part)
        place = getattr(place, part, None)
    return ".".join(plain)


def _wrapped_name(module: nn.Module) -> str | None:
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return "module"
    return COMPILED if COMPILED in dict(module.named_children()) else None
