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


def test_windows_are_no_larger_than_the_maps_of_an_image_size() -> None:
    model = tiny(image_size=(32, 16), window=(4, 3), depths=(2, 2, 2), heads=(2, 2, 4))
    grids = [part.grid for part in model.modules() if isinstance(part, RelativeBias)]
    assert grids == [(4, 3)] * 2 + [(4, 2)] * 2 + [(2, 1)] * 2
    assert model.image_size == (32, 16)
    everywhere = tiny(window=(4, 3), depths=(2, 2, 2), heads=(2, 2, 4))
    assert {part.grid for part in everywhere.modules() if isinstance(part, RelativeBias)} == {(4, 3)}
    assert model(torch.randn(1, 3, 32, 16)).shape == (1, 5)


def test_smaller_tables_compute_what_the_middle_of_larger_ones_does() -> None:
    small, large = (tiny(depths=(1, 2), image_size=size).double().eval() for size in (8, None))
    state = small.state_dict()
    for key, table in large.state_dict().items():
        if key.endswith("table"):
            side = round(state[key].shape[0] ** 0.5)
            rim = (7 - side) // 2
            state[key] = table.unflatten(0, (7, 7))[rim : rim + side, rim : rim + side].flatten(0, 1)
        else:
            state[key] = table
    small.load_state_dict(state)
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(small(image), large(image), rtol=1e-12, atol=1e-12)
