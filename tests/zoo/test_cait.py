"""CaiT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import CaiT, ClassBlock, DropPath, LayerScale
from vitblocks.attention.talking_heads import HeadMix

from .common import check_model


def tiny(**options: Any) -> CaiT:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "heads": 2, "mlp_dim": 32}
    return CaiT(**{**sizes, "depth": 2, "cls_depth": 2, **options})


def test_does_what_every_model_does() -> None:
    model = tiny(layer_dropout=0.1, dropout=0.1, emb_dropout=0.1, attn_dropout=0.1)
    check_model(model, torch.randn(2, 3, 32, 32), classes=5)


def test_patches_stay_as_they_are_in_class_blocks() -> None:
    model = tiny().eval()
    block = next(m for m in model.modules() if isinstance(m, ClassBlock))
    x = torch.randn(2, 1 + 16, 16)
    y = block(x, (4, 4))
    assert torch.equal(y[:, 1:], x[:, 1:])
    assert not torch.equal(y[:, 0], x[:, 0])


@pytest.mark.parametrize(("depth", "start"), [(18, 0.1), (24, 1e-5), (36, 1e-6)])
def test_layer_scale_starts_by_depth(depth: int, start: float) -> None:
    scales = [m.weight for m in tiny(depth=depth, dim=4, heads=1).modules() if isinstance(m, LayerScale)]
    assert len(scales) == 2 * (depth + 2)
    assert all((scale == torch.tensor(start)).all() for scale in scales)


def test_layers_are_skipped_alike_at_every_depth_and_never_in_class_blocks() -> None:
    rates = [m.rate for m in tiny(layer_dropout=0.2, depth=3).modules() if isinstance(m, DropPath)]
    assert rates == [0.2] * 6 + [0.0] * 4


def test_initial_weights() -> None:
    model = tiny(dim=64, heads=4, mlp_dim=128)
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for linear in linears:
        assert 0.8 * 0.02 < linear.weight.std() < 1.2 * 0.02
        assert not linear.bias.any()
    mixes = [m for m in model.modules() if isinstance(m, HeadMix)]
    assert torch.cat([mix.weight.flatten() for mix in mixes]).std().item() == pytest.approx(0.02, rel=0.3)
    assert not any(mix.bias.any() for mix in mixes)


@pytest.mark.parametrize("size", [(32, 64), (16, 24)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert tiny(channels=1).eval()(torch.randn(1, 1, *size)).isfinite().all()
