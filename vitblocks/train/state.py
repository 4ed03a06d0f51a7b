"""All that training goes by, as tensors with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .average import Average
from .tasks import Task


def weights_of(task: Task) -> dict[str, Tensor]:
    """The weights and buffers of a task and its model by their names, each once."""
    both = _both(task)
    named = [*both.named_parameters(), *both.named_buffers()]
    kept = {*both.state_dict()}
    fixed = tuple(f"task.{prefix}" for prefix in task.fixed)
    return {name: value.detach() for name, value in named if name in kept and not name.startswith(fixed or "\0")}


def _both(task: Task) -> nn.ModuleDict:
    return nn.ModuleDict({"task": task.module, "model": task.model})


def state_of(task: Task, optimizer: Any, average: Average | None) -> dict[str, Tensor]:
    """Weights, the optimizer's moments and the moving average. What is sharded is gathered: every process has to call."""
    found = weights_of(task)
    for name, _, moments in _moments(optimizer):
        found |= {f"optimizer.{name}.{key}": value for key, value in moments.items()}
    if average is not None:
        found |= {f"average.{name}": value for name, value in average.values.items()}
    return {name: whole(value) for name, value in found.items()}


def whole(value: Tensor) -> Tensor:
    """A tensor that may be sharded, gathered."""
    gather = getattr(value, "full_tensor", None)
    full: Tensor = value if gather is None else gather()
    return full


@torch.no_grad()
def put_state(task: Task, optimizer: Any, average: Average | None, state: Mapping[str, Tensor]) -> None:
    """What :func:`state_of` gave, back in its place.

    Raises:
        ValueError: it is of another model or recipe; the message names a tensor.
    """
    weights = weights_of(task)
    mine = {name for name in state if name.startswith(("task.", "model."))}
    if mine != weights.keys():
        odd = sorted(mine ^ weights.keys())[0]
        raise ValueError(f"the checkpoint is of another model: {odd} is {'only in it' if odd in mine else 'not in it'}")
    for name, value in weights.items():
        if value.shape != state[name].shape:
            raise ValueError(
                f"the checkpoint is of another model: {name} is {tuple(state[name].shape)} in it, not {tuple(value.shape)}"
            )
        value.copy_(like(state[name], value))
    for name, parameter, moments in _moments(optimizer):
        prefix = f"optimizer.{name}."
        moments.clear()
        for key, value in state.items():
            if key.startswith(prefix):
                own = key.removeprefix(prefix)
                moments[own] = value.clone() if own == "step" else like(value, parameter.detach()).clone()
    if average is not None:
        average.load({name: like(state[f"average.{name}"], value) for name, value in average.values.items()})


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor on the device of another, and sharded as that is."""
    mesh = getattr(other, "device_mesh", None)
    if mesh is None:
        return value.to(other.device)
    from torch.distributed.tensor import distribute_tensor

    placements: Any = other.placements  # type: ignore[attr-defined]
    return distribute_tensor(value.to(other.device), mesh, placements)


def _moments(optimizer: Any) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
    """Each parameter of an optimizer, its name and what the optimizer keeps of it."""
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            yield name, parameter, optimizer.state[parameter]
