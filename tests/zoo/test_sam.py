"""SAM's image encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks import DecomposedBias, GlobalAttention, LocalWindowAttention, SAMViT, layer_norm, record_attention
from vitblocks.attention import Windows

from .common import check_eager


def tiny(**options: Any) -> SAMViT:
    sizes = {"num_classes": 5, "dim": 16, "depth": 3, "heads": 2, "mlp_dim": 32, "neck_dim": 8}
    return SAMViT(**{"image_size": 32, "patch_size": 8, **sizes, "window": 3, "global_blocks": (1,), **options})


@pytest.mark.parametrize("neck_dim", [8, None])
def test_does_what_every_model_does(neck_dim: int | None) -> None:
    """What compiles and exports is checked with the transformations."""
    model = tiny(drop_path=0.1, dropout=0.1, layer_scale=0.5, neck_dim=neck_dim)
    check_eager(model, torch.randn(2, 3, 32, 48), classes=5)


def test_maps_are_of_the_blocks_and_of_the_neck() -> None:
    maps = tiny().feature_maps(torch.rand(1, 3, 32, 48))
    assert [(tuple(found.map.shape), found.stride) for found in maps] == [
        ((1, 16, 4, 6), (8, 8)),
        ((1, 8, 4, 6), (8, 8)),
    ]
    assert len(tiny(neck_dim=None).feature_maps(torch.rand(1, 3, 32, 32))) == 1


def test_blocks_that_are_named_attend_globally() -> None:
    model = tiny().eval()
    kinds = [type(block.attn) for _, block in model.blocks()]
    assert kinds == [LocalWindowAttention, GlobalAttention, LocalWindowAttention]
    with record_attention(model) as records:
        model(torch.rand(1, 3, 32, 48))
    assert [tuple(record.weights.shape) for record in records] == [(1, 4, 2, 9, 9), (1, 1, 2, 24, 24), (1, 4, 2, 9, 9)]
    with pytest.raises(ValueError, match="global_blocks must number blocks of 3, from 0, got 7"):
        tiny(global_blocks=(1, 7))


def test_options_are_parts() -> None:
    model = tiny(norm=layer_norm(1e-5), bias_factory=None, positions=False, padding="masked")
    norms = {name: module.eps for name, module in model.named_modules() if hasattr(module, "eps")}
    assert {eps for name, eps in norms.items() if ".conv." in name} == {1e-6}
    assert {eps for name, eps in norms.items() if ".layers." in name} == {1e-5}
    assert not any(isinstance(module, DecomposedBias) for module in model.modules())
    assert {m.windows for m in model.modules() if isinstance(m, LocalWindowAttention)} == {Windows(3)}
