"""Parts are plain PyTorch: what quantizes Linears quantizes every one of a model (pytorch/pytorch#127521)."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from .zoo.tiny import TINY


@pytest.mark.parametrize("name", ["ViT", "Swin", "CaiT", "LeViT", "CrossViT"])
def test_every_linear_is_quantized(name: str) -> None:
    model = TINY[name].build().eval()
    linears = sum(type(module) is nn.Linear for module in model.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it moves to torchao
        small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    kinds = [type(module) for module in small.modules()]
    assert sum(k.__module__.startswith("torch.ao.nn.quantized") and k.__name__ == "Linear" for k in kinds) == linears
    image = torch.rand(2, 3, TINY[name].image_size, TINY[name].image_size)
    with torch.no_grad():
        exact, rough = model(image), small(image)
    assert (rough - exact).abs().max() < 0.2 * exact.abs().max()
