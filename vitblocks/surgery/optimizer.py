"""An optimizer that was made before a swap, brought to the parameters that the model has after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

Group = dict[str, Any]


class Moved(NamedTuple):
    """Two layers of which one took the other's place, and the names of the parameters that it took over as they were."""

    gone: nn.Module
    come: nn.Module
    kept: frozenset[str]


def move(optimizer: Optimizer, moved: list[Moved], model: nn.Module) -> None:
    """Take out the parameters of layers that are gone from the model and put in those that came, each into the group of what it stands for.

    That is the group of the parameter of its name; else one of its layer with as many axes (as groups with and without weight decay
    are told apart); else one of its layer; and for a layer that had no parameters the largest group. A layer whose parameters the optimizer
    did not have stays out of it. The state of a parameter that was taken over goes with it; new ones start without.
    """
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    gone = {id(parameter) for layers in moved for parameter in layers.gone.parameters()}
    gone -= {id(parameter) for parameter in model.parameters()}
    for parameter, group, before in [entry for layers in moved for entry in _entries(layers, groups, optimizer)]:
        if id(parameter) in groups or not parameter.requires_grad:
            continue
        group["params"].append(parameter)
        groups[id(parameter)] = group
        if before is not None and before in optimizer.state:
            optimizer.state[parameter] = optimizer.state[before]
    for group in optimizer.param_groups:
        for parameter in [p for p in group["params"] if id(p) in gone]:
            optimizer.state.pop(parameter, None)
        group["params"] = [p for p in group["params"] if id(p) not in gone]


def _entries(
    layers: Moved, groups: dict[int, Group], optimizer: Optimizer
) -> Iterator[tuple[nn.Parameter, Group, nn.Parameter | None]]:
    """The parameters of the layer that came, the group of each, and the parameter whose state it takes over."""
    old = dict(layers.gone.named_parameters())
    held = {name: parameter for name, parameter in old.items() if id(parameter) in groups}
    if old and not held:
        return
    for name, parameter in layers.come.named_parameters():
        same = held.get(name)
        alike = [same] if same is not None else [p for p in held.values() if p.dim() == parameter.dim()]
        near = next(iter([*alike, *held.values()]), None)
        group = max(optimizer.param_groups, key=lambda g: len(g["params"])) if near is None else groups[id(near)]
        kept = name in layers.kept and same is not None and same.shape == parameter.shape
        yield parameter, group, same if kept else None
