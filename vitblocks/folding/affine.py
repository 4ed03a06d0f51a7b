"""Scales and shifts of channels taken into the weights of linear layers."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, TypeGuard

import torch
from torch import Tensor, nn

from ..norm import BatchNorm
from .declared import behaves_as, declared

Linear: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d
"""Layers whose outputs are linear in their inputs, channel by channel."""

BatchNormNd: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


class Affine(NamedTuple):
    """``x * scale + shift`` by channel, in float64."""

    scale: Tensor
    shift: Tensor


def is_linear(module: nn.Module | None) -> TypeGuard[Linear]:
    if behaves_as(module, nn.Linear) or behaves_as(module, nn.Conv1d) or behaves_as(module, nn.Conv2d):
        return True
    return bool(declared(module, "is_linear"))


def batch_norm_of(norm: nn.Module | None) -> BatchNormNd | None:
    """PyTorch's BatchNorm, itself or in a norm of tokens; None where it is none, or norms by each batch."""
    if behaves_as(norm, BatchNorm):
        norm = norm.bn
    if behaves_as(norm, nn.BatchNorm1d) or behaves_as(norm, nn.BatchNorm2d):
        return None if norm.running_mean is None else norm
    return None


def batch_norm_affine(norm: nn.Module | None) -> Affine | None:
    """What a BatchNorm does in evaluation; None where it is none, or norms by each batch."""
    bn = batch_norm_of(norm)
    if bn is None or bn.running_mean is None or bn.running_var is None:
        return None
    scale = (bn.running_var.double() + bn.eps).rsqrt()
    if bn.weight is not None:
        scale = scale * bn.weight.double()
    shift = -bn.running_mean.double() * scale
    return Affine(scale, shift if bn.bias is None else shift + bn.bias.double())


def token_norm_affine(norm: nn.Module | None) -> Affine | None:
    """The learned part of a norm of tokens: what it does after it has normed; None where it has none."""
    if behaves_as(norm, BatchNorm):
        return batch_norm_affine(norm)
    if not (behaves_as(norm, nn.LayerNorm) or behaves_as(norm, nn.RMSNorm)):
        return None
    if norm.weight is None or len(norm.normalized_shape) != 1:
        return None
    weight, bias = norm.weight.double(), getattr(norm, "bias", None)
    return Affine(weight, torch.zeros_like(weight) if bias is None else bias.double())


def without_affine(norm: nn.Module) -> nn.Module:
    """What is left of a norm of tokens once its affine part is elsewhere."""
    if isinstance(norm, nn.LayerNorm):
        bare: nn.Module = nn.LayerNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    elif isinstance(norm, nn.RMSNorm):
        bare = nn.RMSNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    else:
        bare = nn.Identity()
    return bare.eval()


def follow(layer: Linear, affine: Affine) -> None:
    """Take in an affine map of the layer's outputs."""
    weight, bias = layer.weight.double(), None if layer.bias is None else layer.bias.double()
    scale = affine.scale.reshape(-1, *[1] * (weight.dim() - 1))
    _write(layer, weight * scale, affine.shift if bias is None else bias * affine.scale + affine.shift)


def can_precede(layer: Linear, affine: Affine) -> bool:
    """Whether the layer can take in an affine map of its inputs: a convolution's padding is not shifted."""
    if isinstance(layer, nn.Linear):
        return layer.in_features == affine.scale.numel()
    if not hasattr(layer, "in_channels"):  # a part that ``is_linear``, but no convolution
        return False
    pads = any(layer.padding) or getattr(layer, "remainder", None) == "pad" or getattr(layer, "pads", False)
    return layer.groups == 1 and layer.in_channels == affine.scale.numel() and not pads


def precede(layer: Linear, affine: Affine) -> None:
    """Take in an affine map of the layer's inputs."""
    weight, bias = layer.weight.double(), None if layer.bias is None else layer.bias.double()
    scale = affine.scale.reshape(1, -1, *[1] * (weight.dim() - 2))
    moved = weight.flatten(2).sum(dim=2) @ affine.shift if weight.dim() > 2 else weight @ affine.shift
    _write(layer, weight * scale, moved if bias is None else bias + moved)


def factor(channels: int, value: float, like: Linear) -> Affine:
    """The same factor for every channel."""
    scale = torch.full((channels,), value, dtype=torch.float64, device=like.weight.device)
    return Affine(scale, torch.zeros_like(scale))


def _write(layer: Linear, weight: Tensor, bias: Tensor) -> None:
    """New weights in the layer's dtype; a bias that is zero all over is not added where there was none."""
    like = layer.weight
    layer.weight = nn.Parameter(weight.to(like.dtype), requires_grad=False)
    if layer.bias is not None or bool(bias.any()):
        layer.bias = nn.Parameter(bias.to(like.dtype), requires_grad=False)
