"""Settings of other libraries' modules in terms of our parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..feedforward import Activation, QuickGELU, TanhGELU
from ..norm import NormFactory, layer_norm, rms_norm

ACTIVATIONS: tuple[Activation, ...] = (
    nn.GELU,
    TanhGELU,
    QuickGELU,
    nn.ReLU,
    nn.SiLU,
    nn.Hardswish,
    nn.ReLU6,
    nn.Tanh,
    nn.Identity,
)
_POINTS = torch.linspace(-8, 8, 257, dtype=torch.float64)


def refuse_unless(holds: bool, module: nn.Module, setting: str, value: Any) -> None:
    """Raise ValueError that names a setting of a module for which there is no part."""
    if not holds:
        shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
        raise ValueError(f"{type(module).__name__} has {setting} = {shown}, for which there is no part here")


@torch.no_grad()
def activation_of(module: Callable[[torch.Tensor], torch.Tensor]) -> Activation:
    """The activation that computes the same, whatever class or function it is there.

    Raises:
        ValueError: none does.
    """
    wanted = module(_POINTS.clone())
    for candidate in ACTIVATIONS:
        if torch.allclose(candidate()(_POINTS.clone()), wanted, rtol=1e-12, atol=1e-12):
            return candidate
    raise ValueError(f"no activation here computes what {module} does")


def norm_of(module: nn.Module) -> NormFactory:
    """The factory of a norm over channels.

    Raises:
        ValueError: it is none of LayerNorm, RMSNorm and Identity, or has no scale.
    """
    if isinstance(module, nn.Identity):
        return nn.Identity
    has_scale = getattr(module, "weight", None) is not None
    if isinstance(module, nn.LayerNorm) and has_scale and module.bias is not None:
        return layer_norm(module.eps)
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    is_rms = type(module).__name__.lower().endswith("rmsnorm") and getattr(module, "bias", None) is None
    if is_rms and has_scale and isinstance(eps, float):
        return rms_norm(eps)
    raise ValueError(f"a norm must be a LayerNorm or RMSNorm with learned scale to be read, got {module}")


def rate_of(module: nn.Module | None) -> float:
    """The rate of a Dropout or DropPath of whatever library; 0 of an Identity."""
    for name in ("p", "drop_prob", "rate"):
        if isinstance(rate := getattr(module, name, None), (int, float)):
            return float(rate)
    return 0.0
