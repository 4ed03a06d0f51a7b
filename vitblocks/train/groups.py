"""Parameters by what an optimizer does to them: weight decay, and a learning rate that falls with depth."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from torch import nn

from ..folding.declared import declared
from ..model import Model, Stage, is_block


def parameter_groups(
    model: nn.Module, weight_decay: float = 0.05, *, layer_decay: float | None = None, lr: float | None = None
) -> list[dict[str, Any]]:
    """Groups of the trained parameters for an optimizer of PyTorch: ``AdamW(parameter_groups(model, 0.05, layer_decay=0.75, lr=1e-3))``.

    Vectors (biases, scales of norms and layers) and what parts declare (``undecayed``: tokens, tables of positions and biases) are not
    decayed. With ``layer_decay`` the learning rate of a parameter falls by that factor for each block between it and the head (BEiT,
    arXiv:2106.08254, Section 3.1): embedder and positions have depth 0, a block its number from 1, as has what stands between it and the
    block before (a transition, say), the last norm belongs to the last block, and pool and head come after. For a ViT these are timm's
    groups.

    Args:
        model: any module; with ``layer_decay`` a :class:`~vitblocks.Model`.
        weight_decay: of the decayed parameters.
        layer_decay: in (0, 1]; None for one rate.
        lr: learning rate of the head, from which each group's ``"lr"`` is worked out; left to the optimizer and to ``"lr_scale"`` if None.

    Returns:
        dictionaries with ``"params"``, ``"names"``, ``"weight_decay"``, ``"lr_scale"`` (1 at the head), and ``"lr"`` if given, by depth.

    Raises:
        TypeError: ``layer_decay`` for another module, which knows no depth.
        ValueError: a number out of range, or nothing is trained.
    """
    _check(weight_decay, layer_decay, lr)
    if layer_decay is not None and not isinstance(model, Model):
        raise TypeError(f"layer_decay needs a vitblocks.Model, whose blocks it can count, got {type(model).__name__}")
    depths = _depths(model) if layer_decay is not None and isinstance(model, Model) else {}
    kept = set(_undecayed(model))
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.dim() > 1 and id(parameter) not in kept
        key = (_depth_of(name, depths), decayed)
        rate = {"weight_decay": weight_decay if decayed else 0.0}
        group = groups.setdefault(key, {"params": [], "names": [], **rate})
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise ValueError(f"model must have parameters that are trained, {type(model).__name__} has none")
    deepest = max(depth for depth, _ in groups)
    for (depth, _), group in groups.items():
        group["lr_scale"] = (1.0 if layer_decay is None else layer_decay) ** (deepest - depth)
        if lr is not None:
            group["lr"] = lr * group["lr_scale"]
    return [groups[key] for key in sorted(groups)]


def _check(weight_decay: float, layer_decay: float | None, lr: float | None) -> None:
    if not (isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(f"weight_decay must be a finite number of at least 0, got {weight_decay}")
    if layer_decay is not None and not 0 < layer_decay <= 1:
        raise ValueError(f"layer_decay must lie in (0, 1], got {layer_decay}")
    if lr is not None and not (isfinite(lr) and lr > 0):
        raise ValueError(f"lr must be a finite number above 0, got {lr}")


def _undecayed(model: nn.Module) -> Iterator[int]:
    """The ids of the parameters that parts declare not to be decayed."""
    for module in model.modules():
        for name in declared(module, "undecayed") or ():
            yield id(module.get_parameter(name))


def _depths(model: Model) -> dict[str, int]:
    """The depth of modules by their names, what is not named has that of its owner."""
    depths, count = {"embed": 0}, 0
    for s, stage in enumerate(model.stages):
        assert isinstance(stage, Stage)
        started = s == 0  # what stands before the first block of all belongs to the embedder
        parts = [("transition", stage.transition), *((f"layers.{i}", layer) for i, layer in enumerate(stage.layers))]
        for name, part in parts:
            if part is None:
                continue
            block = is_block(part)
            count += block
            depths[f"stages.{s}.{name}"] = count if block or started else count + 1
            started |= block
    return {**depths, "norm": count, "pool": count + 1, "head": count + 1}


def _depth_of(name: str, depths: dict[str, int]) -> int:
    parts = name.split(".")
    return next((depths[place] for i in range(len(parts), 0, -1) if (place := ".".join(parts[:i])) in depths), 0)
