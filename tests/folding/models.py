"""Models whose norms, statistics and scales are far from where they start, so that a wrong fold shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitblocks import LinearEmbed, MeanPool, Model, Stage

DIM, SIZE = 8, 20  # a grid of 5 x 5, which windows of 2 do not divide


def shaken(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model in evaluation with random vectors and statistics, and matrices that are no more small."""
    random = torch.Generator().manual_seed(0)
    model = model.to(dtype).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(generator=random)
                module.running_var.uniform_(0.5, 2.0, generator=random)
        for parameter in model.parameters():
            if parameter.numel() == max(parameter.shape, default=1):
                parameter.uniform_(0.3, 1.7, generator=random)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=random, dtype=dtype), alpha=0.1)
    return model


def images(size: int = SIZE, dtype: torch.dtype = torch.float64, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype)


def model_of(*layers: nn.Module, dtype: torch.dtype = torch.float64, transition: nn.Module | None = None) -> nn.Module:
    """The layers on patches of 4 pixels."""
    stages: Sequence[Stage] = [Stage(layers, transition)]
    return shaken(Model(LinearEmbed(4, DIM), stages, pool=MeanPool()), dtype)
