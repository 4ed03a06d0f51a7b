"""Norms as factories ``dim -> module``, and norms that live inside a projection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, TypeAlias

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .registry import part

NormFactory: TypeAlias = Callable[[int], nn.Module]


@part
class LayerNorm(nn.LayerNorm):
    """LayerNorm (arXiv:1607.06450) of ``(..., dim)`` with an epsilon of 1e-6, as vision transformers since ViT have it.

    PyTorch's own default is 1e-5.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps)


@part
class RMSNorm(nn.RMSNorm):
    """RMSNorm (arXiv:1910.07467) of ``(..., dim)``, no mean and no bias, with an epsilon of 1e-6."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__(dim, eps)


def layer_norm(eps: float = 1e-6) -> NormFactory:
    """A factory of :class:`LayerNorm` with this epsilon."""
    return partial(LayerNorm, eps=eps)


def rms_norm(eps: float = 1e-6) -> NormFactory:
    """A factory of :class:`RMSNorm` with this epsilon."""
    return partial(RMSNorm, eps=eps)


@part
class BatchNorm(nn.Module):
    """BatchNorm (arXiv:1502.03167) of tokens ``(..., C)``: every token of every image is a sample.

    It holds a plain ``nn.BatchNorm1d`` rather than being one: convert_sync_batchnorm would take N for the channels. A lone sample in
    training, such as the pooled features of one image, has no variance: it is normed by the running statistics, as in evaluation.
    """

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(dim, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError for other channels than ``dim``."""
        if x.shape[-1] != len(self.bn.weight):
            raise ValueError(f"x must have {len(self.bn.weight)} channels for this BatchNorm, got {tuple(x.shape)}")
        samples = rearrange(x, "... c -> (...) c")
        if self.training and samples.shape[0] == 1:
            bn = self.bn
            normed = F.batch_norm(samples, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
        else:
            normed = self.bn(samples)
        return normed.view_as(x)


@part
class LinearNorm(nn.Module):
    """Linear without bias, then BatchNorm over all tokens (LeViT, arXiv:2104.01136, Section 4): ``(..., in) -> (..., out)``."""

    chained: ClassVar = {"linear": "norm"}
    reads = ("linear",)
    writes = "norm"

    def __init__(self, in_dim: int, out_dim: int, *, init_weight: float = 1.0) -> None:
        """``init_weight`` is the norm's starting scale: 0 makes the branch it ends start as nothing."""
        super().__init__()
        self.linear = nn.Linear(in_dim, out_dim, bias=False)
        self.norm = BatchNorm(out_dim)
        nn.init.constant_(self.norm.bn.weight, init_weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


@part
class MapNorm(nn.Module):
    """A token norm applied to the channels of a map ``(B, C, H, W)``, so that it can stand among convolutions."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.norm(rearrange(image, "b c h w -> b h w c"))
        return rearrange(tokens, "b h w c -> b c h w")


@part
def map_layer_norm(channels: int, eps: float = 1e-6) -> MapNorm:
    """A :class:`LayerNorm` of the channels of a map, as a factory of norms among convolutions."""
    return MapNorm(LayerNorm(channels, eps))


def identity_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, gain: float = 1.0) -> None:
    """Make a BatchNorm in evaluation multiply by ``gain``: the weight undoes the epsilon under the root."""
    norm.reset_running_stats()
    nn.init.constant_(norm.weight, gain * (1.0 + norm.eps) ** 0.5)
    nn.init.zeros_(norm.bias)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32, to sum up in."""
    return x if x.itemsize >= 4 else x.float()
