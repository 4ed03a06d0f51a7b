"""Initialisations that papers share, as functions for ``module.apply``."""

from __future__ import annotations

from torch import nn

from .attention.talking_heads import HeadMix


def trunc_normal_linear(module: nn.Module, std: float = 0.02) -> None:
    """Linears: weights a truncated normal of this standard deviation, biases zero (timm's and the authors' of DeiT, CaiT, Twins)."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def xavier_linear(module: nn.Module) -> None:
    """Linears: weights uniform by fan in and fan out, biases zero (Glorot and Bengio 2010, eq. 16; authors' of MAE)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fan_out_conv(module: nn.Module) -> None:
    """Convolutions: weights normal with variance ``2 / (kernel area * out channels / groups)``, biases zero (authors' of Twins, PVT)."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def trunc_normal_conv(module: nn.Module, std: float = 0.02) -> None:
    """Convolutions: weights a truncated normal of this standard deviation, biases zero."""
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def kaiming_conv(module: nn.Module) -> None:
    """Convolutions: weights normal with variance ``2 / (kernel area * out channels)``, biases zero (arXiv:1502.01852, by fan out)."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def fan_in_conv(module: nn.Module) -> None:
    """Convolutions: weights normal with variance ``2 / fan in`` (arXiv:1502.01852, eq. 10), biases left as they are."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)


def trunc_normal_mix(module: nn.Module, std: float = 0.02) -> None:
    """Mixes of heads: weights a truncated normal of this standard deviation, biases zero (authors' of CaiT), not near the identity."""
    if isinstance(module, HeadMix):
        nn.init.trunc_normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
