"""Norms as factories ``dim -> module``, and norms that live inside a projection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from .linear import Linear

NormFactory: TypeAlias = Callable[[int], nn.Module]


def layer_norm(eps: float = 1e-6) -> NormFactory:
    """A LayerNorm factory (arXiv:1607.06450) with this epsilon."""
    return partial(nn.LayerNorm, eps=eps)


def rms_norm(eps: float = 1e-6) -> NormFactory:
    """An RMSNorm factory (arXiv:1910.07467) with this epsilon: no mean, no bias."""
    return partial(nn.RMSNorm, eps=eps)


LayerNorm: NormFactory = layer_norm(1e-6)
"""The default norm: vision transformers since ViT use an epsilon of 1e-6, not PyTorch's 1e-5."""

RMSNorm: NormFactory = rms_norm(1e-6)


class BatchNorm(nn.Module):
    """BatchNorm (arXiv:1502.03167) of tokens ``(..., C)``: every token of every image is a sample.

    It holds a plain ``nn.BatchNorm1d`` rather than being one: convert_sync_batchnorm would take N for the channels. A lone sample in
    training, such as the pooled features of one image, has no variance: it is normed by the running statistics, as in evaluation.
    """

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(dim, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        samples = x.reshape(-1, x.shape[-1])
        if self.training and samples.shape[0] == 1:
            bn = self.bn
            return F.batch_norm(samples, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps).view_as(x)
        return self.bn(samples).view_as(x)


class LinearNorm(nn.Module):
    """Linear without bias, then BatchNorm over all tokens (LeViT, arXiv:2104.01136, Section 4): ``(..., in) -> (..., out)``."""

    def __init__(self, in_dim: int, out_dim: int, *, init_weight: float = 1.0) -> None:
        """``init_weight`` is the norm's starting scale: 0 makes the branch it ends start as nothing."""
        super().__init__()
        self.linear = Linear(in_dim, out_dim, bias=False)
        self.norm = BatchNorm(out_dim)
        nn.init.constant_(self.norm.bn.weight, init_weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class MapNorm(nn.Module):
    """A token norm applied to the channels of a map ``(B, C, H, W)``, so that it can stand among convolutions."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
