"""Swin."""

from __future__ import annotations

import pytest
import torch

from vitblocks import LocalWindowAttention, RelativeBias, ShiftedWindows, Swin

from .common import check_model


def tiny(**options: object) -> Swin:
    sizes = {"num_classes": 5, "dim": 8, "depths": (2, 2), "heads": (2, 4), "window": 4}
    return Swin(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(dropout=0.1), torch.randn(2, 3, 32, 40), classes=5)


def test_every_other_block_is_shifted() -> None:
    kinds = [isinstance(m.windows, ShiftedWindows) for m in tiny().modules() if isinstance(m, LocalWindowAttention)]
    assert kinds == [False, True, False, True]


def test_a_size_that_does_not_merge_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(8, 8\) or \(10, 8\)"):
        tiny()(torch.randn(1, 3, 36, 32))


def test_initial_weights() -> None:
    model = tiny(dim=64, heads=(2, 4))
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            assert 0.8 * 0.02 < module.weight.std() < 1.2 * 0.02
            assert module.bias is None or not module.bias.any()
        if isinstance(module, RelativeBias):
            assert 0.7 * 0.02 < module.table.std() < 1.3 * 0.02
