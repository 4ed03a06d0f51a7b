"""When a faster way may be taken: what the passes ask at every call."""

from __future__ import annotations

from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from ..checks import tracing
from .private import find

_CAST = (torch.float32, torch.bfloat16, torch.float16)
"""What autocast casts; it leaves float64 alone."""

NEEDED = ("torch._C._functorch.maybe_current_level", "torch.autograd.forward_ad._current_level")
"""The private names by which :func:`untransformed` and :func:`forward_mode` know; without them nothing here may be asked."""

_level: Any = find(NEEDED[0])


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """What PyTorch multiplies the two in on a CPU, by autocast, too; None where they do not fit or it leaves them alone."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") if x.dtype in _CAST and weight.dtype in _CAST else None
    return x.dtype if weight.dtype is x.dtype else None


def untransformed() -> bool:
    """Whether neither ``torch.jit`` is tracing nor a transform of ``torch.func`` is at work, which need their own rules."""
    return not tracing() and _level() is None


def forward_mode() -> bool:
    """Whether gradients go forward, inside of a dual level."""
    return forward_ad._current_level >= 0
