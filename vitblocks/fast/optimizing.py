"""All passes that help on this machine, as one."""

from __future__ import annotations

import torch
from torch import nn

from .attention import attends
from .bias import biases
from .convolution import convolutions
from .linear import linears
from .recomputing import recompute
from .report import Report


def optimize(model: nn.Module, *, dtype: torch.dtype | None = None) -> Report:
    """Every pass that helps this model on this machine, in place: :func:`linears`, :func:`convolutions`, :func:`attends`, :func:`biases`,
    and, for a model in training mode, :func:`recompute`.

    Fold first (``vitblocks.fold``), then optimize: folding changes parts, and knows plain ones.

    Args:
        model: any module, on the device and in the mode in which it will be called.
        dtype: what it is computed in: ``torch.bfloat16`` if it is called under autocast. The parameters' own if None.
    """
    parts = [
        linears(model, dtype=dtype),
        convolutions(model, dtype=dtype),
        attends(model, dtype=dtype),
        biases(model),
        recompute(model) if model.training else Report("recompute", aside="the model is in evaluation mode"),
    ]
    return Report("optimize", parts=parts)
