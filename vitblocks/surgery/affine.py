"""Linear maps inside layers, read and written as ``x -> weight @ x + bias`` whatever they are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..attention import QVBiasLinear
from ..folding.affine import BatchNormNd, batch_norm_affine, batch_norm_of
from ..folding.declared import child, declared
from ..norm import identity_norm
from .ledger import Ledger


class Affine(NamedTuple):
    """Rows of a map as ``x -> weight @ x + bias``, whether they are trained, and the keys they were read from."""

    weight: Tensor
    bias: Tensor | None
    weight_trains: bool
    bias_trains: bool
    weight_keys: frozenset[str]
    bias_keys: frozenset[str]


class Part(NamedTuple):
    """A Linear or a 1x1 convolution of a layer with the BatchNorm after it, if there is one, and where they stand."""

    linear: nn.Linear | nn.Conv2d
    norm: BatchNormNd | None
    path: str
    norm_path: str = ""


def part_of(layer: nn.Module, name: str, path: str = "") -> Part:
    """The map that a child of a layer is, with the BatchNorm that follows it; of a part that ``writes`` by a child, that child's.

    Raises:
        TypeError: it is of a kind that does not say so.
    """
    chained = declared(layer, "chained") or {}
    name = {norm: first for first, norm in chained.items()}.get(name, name)
    module, after = child(layer, name), child(layer, chained[name]) if name in chained else None
    bn = batch_norm_of(after)
    if isinstance(module, (nn.Linear, nn.Conv2d)) and (
        bn is not None or after is None or isinstance(after, nn.Identity)
    ):
        norm_path = next((key for key, part in layer.named_modules() if part is bn), "")
        return Part(module, bn, f"{path}{name}", f"{path}{norm_path}")
    inner = declared(module, "writes")
    if module is not None and inner is not None:
        return part_of(module, inner, f"{path}{name}.")
    raise TypeError(
        f"{path}{name} is a {type(module).__name__}, whose weights have no counterpart in the other layer; "
        f"give the new one a copy of the same module as {path}{name}="
    )


def read_projection(layer: nn.Module, name: str) -> Affine:
    """The map that a projection is: :func:`read` of :func:`part_of`, or of one whose keys have no bias, which is then 0.

    Raises:
        TypeError: see :func:`part_of`.
    """
    module = child(layer, name)
    if not isinstance(module, QVBiasLinear):
        return read(part_of(layer, name))
    weight, biases = module.linear.weight, (module.q_bias, module.v_bias)
    trains = any(bias.requires_grad for bias in biases)
    keys = frozenset({f"{name}.q_bias", f"{name}.v_bias"})
    return Affine(weight, module.bias, weight.requires_grad, trains, frozenset({f"{name}.linear.weight"}), keys)


def read(part: Part) -> Affine:
    """A map as it is in evaluation: a BatchNorm after it becomes part of weight and bias."""
    linear, norm = part.linear, part.norm
    weight, bias = linear.weight.flatten(1), linear.bias
    weight_keys = frozenset({f"{part.path}.weight"})
    bias_keys = frozenset() if bias is None else frozenset({f"{part.path}.bias"})
    trains = bias is not None and bias.requires_grad
    after = batch_norm_affine(norm)
    if norm is None or after is None:
        return Affine(weight, bias, weight.requires_grad, trains, weight_keys, bias_keys)
    scale, shift = after.scale.to(weight), after.shift.to(weight)
    folded = {f"{part.norm_path}.{key}" for key in norm.state_dict() if key != "bias"}
    return Affine(
        weight * scale[:, None],
        shift if bias is None else bias * scale + shift,
        weight.requires_grad or norm.weight.requires_grad,
        norm.bias.requires_grad or trains,
        weight_keys | folded,
        bias_keys | {f"{part.norm_path}.bias"},
    )


def write(part: Part, rows: list[Affine], ledger: Ledger) -> None:
    """Fill a map with rows one after the other; a missing bias is zero, a BatchNorm is the identity in evaluation.

    Raises:
        ValueError: they have another shape.
    """
    _write_weight(part.linear.weight, f"{part.path}.weight", rows, ledger)
    if part.norm is not None:
        identity_norm(part.norm)
        _write_bias(part.norm.bias, f"{part.norm_path}.bias", rows, ledger)
    elif part.linear.bias is not None:
        _write_bias(part.linear.bias, f"{part.path}.bias", rows, ledger)


def _write_weight(target: Tensor, key: str, rows: list[Affine], ledger: Ledger) -> None:
    weight = torch.cat([part.weight for part in rows])
    if weight.shape != target.flatten(1).shape:
        raise ValueError(
            f"{key} of shape {tuple(target.shape)} cannot take over weights of shape {tuple(weight.shape)}"
        )
    target.copy_(weight.view_as(target))
    target.requires_grad_(any(part.weight_trains for part in rows))
    ledger.note(key, (part.weight_keys for part in rows))


def _write_bias(target: Tensor, key: str, rows: list[Affine], ledger: Ledger) -> None:
    target.zero_()
    if all(part.bias is None for part in rows):
        return
    target.copy_(
        torch.cat([part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in rows])
    )
    target.requires_grad_(any(part.bias_trains for part in rows))
    ledger.note(key, (part.bias_keys for part in rows))
