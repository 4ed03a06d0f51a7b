"""Which tokens a layer lets see one another."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..grid import Grid
from .subject import normal


def influence(layer: nn.Module, x: Tensor, grid: Grid, *, atol: float = 0.0) -> Tensor:
    """Which inputs each output depends on, found by gradients: ``(N out, N in)`` of bools, for the first image of ``x (B, N, C)``.

    The layer (or transition) runs in eval mode on a copy, all outputs at once: each one in an image of its own, so that the layer must
    treat the images of a batch alike. Dependence weaker than ``atol`` is left out; NaN counts as dependence.
    """
    layer = deepcopy(layer).eval()
    image = x[:1].detach()
    with torch.enable_grad():
        outputs = tokens_of(layer(image, grid)).shape[1]
        images = image.repeat(outputs, 1, 1).requires_grad_()
        rows = tokens_of(layer(images, grid)).diagonal(dim1=0, dim2=1)  # (C, outputs)
        total = (rows * normal(rows.shape, 1).to(rows)).sum()
        if not total.requires_grad:
            return torch.zeros(outputs, x.shape[1], dtype=torch.bool, device=x.device)
        (gradient,) = torch.autograd.grad(total, images, allow_unused=True, materialize_grads=True)
    return ~(gradient.abs() <= atol).all(dim=-1)


def tokens_of(result: Any) -> Tensor:
    """The tokens that a layer gives, or a transition beside its grid."""
    return result[0] if isinstance(result, tuple) else result
