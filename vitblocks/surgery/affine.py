"""Linear maps inside layers, read and written as ``x -> weight @ x + bias`` whatever they are made of."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ..attention.conv_projection import ConvProjection
from ..norm import LinearNorm
from .ledger import Ledger
from .start import identity_norm

BatchNormNd: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


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


def part_of(module: nn.Module, path: str) -> Part:
    """The map of a projection.

    Raises:
        TypeError: its kind is not known.
    """
    if isinstance(module, ConvProjection):
        return part_of(module.linear, f"{path}.linear")
    if isinstance(module, nn.Linear):
        return Part(module, None, path)
    if isinstance(module, LinearNorm):
        return Part(module.linear, module.norm.bn, f"{path}.linear", f"{path}.norm.bn")
    raise TypeError(
        f"{path} is a {type(module).__name__}, whose weights have no counterpart in the other layer; "
        f"give the new one a copy of the same module as {path}="
    )


def read(part: Part) -> Affine:
    """A map as it is in evaluation: a BatchNorm after it becomes part of weight and bias."""
    linear, norm = part.linear, part.norm
    weight, bias = linear.weight.flatten(1), linear.bias
    weight_keys = frozenset({f"{part.path}.weight"})
    if norm is None:
        keys = frozenset() if bias is None else frozenset({f"{part.path}.bias"})
        return Affine(weight, bias, weight.requires_grad, bias is not None and bias.requires_grad, weight_keys, keys)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = {f"{part.norm_path}.{key}" for key in norm.state_dict() if key != "bias"}
    return Affine(
        weight * gain[:, None],
        norm.bias - norm.running_mean * gain,
        weight.requires_grad or norm.weight.requires_grad,
        norm.bias.requires_grad,
        weight_keys | folded,
        frozenset({f"{part.norm_path}.bias"}),
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
