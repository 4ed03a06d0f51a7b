"""The pass over Linears."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from . import product
from .extend import exchange, split
from .measure import GAIN
from .private import missing
from .report import Report


class FastLinear(nn.Linear):
    """``nn.Linear``, same parameters and same results, by the machine's faster product on a CPU: ``(..., in) -> (..., out)``."""

    plain: ClassVar[type[nn.Module]] = nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        return product.linear(input, self.weight, self.bias)


def linears(model: nn.Module, *, dtype: torch.dtype | None = None) -> Report:
    """Compute the model's Linears by oneDNN's product on a CPU, where that is the faster one; in place.

    PyTorch computes float32 products with MKL, which leaves half of an AMD processor unused: oneDNN's are taken where they are measured
    to be faster (once a process, in some milliseconds), with their gradients and under ``torch.compile``, too. In bfloat16 PyTorch takes
    oneDNN itself, but adds the bias in a pass of its own: here it is part of the product. ``python -m benchmarks.kernels`` measures
    both. Modules of exactly the type ``nn.Linear`` become :class:`FastLinear`; ``torch.backends.mkldnn.flags(enabled=False)`` forbids
    what they do. On other devices, traced by ``torch.jit``, exported or transformed by ``torch.func`` they are ``F.linear``.

    Args:
        model: any module.
        dtype: what the products are computed in: ``torch.bfloat16`` for a model that is called under autocast. The weights' own if None.
    """
    if (reason := missing(*product.NAMES)) is not None:
        return Report("linears", aside=reason)
    report = Report("linears")
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        reason = _reason(module, dtype)
        if reason is not None:
            report.left[name] = reason
            continue
        exchange(module, nn.Linear, FastLinear)
        report.add(name, "oneDNN's product", partial(exchange, module, FastLinear, nn.Linear))
    if report and product.prefers_onednn():
        report.note = f"in float32 {product.onednn_gain():.1f} times as fast here"
    return report


def _reason(module: nn.Linear, dtype: torch.dtype | None) -> str | None:
    """Why this one gains nothing; None if it does."""
    base, _ = split(type(module))
    if base is FastLinear:
        return "has it already"
    if base is not nn.Linear:
        return f"{base.__name__} may do more than nn.Linear"
    if module.weight.device.type != "cpu":
        return f"on {module.weight.device.type}, where PyTorch's product is the one"
    dtype = module.weight.dtype if dtype is None else dtype
    if dtype is torch.float32 and not product.prefers_onednn():
        return f"PyTorch's float32 product is as fast here (oneDNN's rate is {product.onednn_gain():.2f} of it, {GAIN} is asked)"
    if dtype is torch.bfloat16 and not product.has_bfloat16():
        return missing(product.ASKED_FOR_BFLOAT16) or "oneDNN has no bfloat16 products here"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"PyTorch's product of {str(dtype).removeprefix('torch.')} is the one"
    return None
