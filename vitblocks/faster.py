"""What the layers that reach PyTorch's own results by faster ways share: when those may be taken, and how to be rid of them."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

# Asked for at every call: in C rather than by PyTorch's wrappers in Python, which took twice as long.
_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
_tracing = torch._C._get_tracing_state

_CAST = (torch.float32, torch.bfloat16, torch.float16)
"""What autocast casts; it leaves float64 alone."""


def with_torch_types(model: nn.Module, *kinds: type[nn.Module]) -> nn.Module:
    """A copy whose every module of exactly one of these types is of the type of torch that it builds on."""
    copy = deepcopy(model)
    for module in copy.modules():
        if type(module) in kinds:
            module.__class__ = type(module).__base__  # type: ignore[assignment]
    return copy


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype | None:
    """What PyTorch multiplies the two in on a CPU, by autocast, too; None where they do not fit or it leaves them alone."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") if x.dtype in _CAST and weight.dtype in _CAST else None
    return x.dtype if weight.dtype is x.dtype else None


def untraced(*tensors: Tensor) -> bool:
    """Whether neither ``torch.jit`` is tracing nor a transform of ``torch.func`` holds one of them, which need their own rules."""
    return _tracing() is None and not any(map(_wrapped, tensors))
