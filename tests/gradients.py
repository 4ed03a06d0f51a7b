"""What two layers that should be the same are compared by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitblocks.norm import at_least_float32


def results(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, its gradients by the input and all parameters, and the gradients of a gradient by the first two."""
    x = x.detach().requires_grad_()
    y = layer(x)
    inputs = [x, *layer.parameters()]
    first = torch.autograd.grad(at_least_float32(y).square().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(at_least_float32(first[0]).square().sum(), inputs[:2])
    return [y, *first, *second]
