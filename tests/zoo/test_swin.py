"""Swin."""

from __future__ import annotations

import pytest
import torch

from vitblocks import RelativeBias, ShiftedWindows, Swin, WindowAttention, Windows
from vitblocks.attention.windows import Partition
from vitblocks.zoo.swin import RolledWindows

from .common import check_model


def tiny(**options: object) -> Swin:
    sizes = {"num_classes": 5, "dim": 8, "depths": (2, 2), "heads": (2, 4), "window": 4}
    return Swin(**{**sizes, **options})


def test_does_what_every_model_does() -> None:
    check_model(tiny(dropout=0.1), torch.randn(2, 3, 32, 40), classes=5)


def test_every_other_block_is_shifted() -> None:
    assert [isinstance(windows, ShiftedWindows) for windows in partitions(tiny())] == [False, True, False, True]


def partitions(model: Swin) -> list[Partition]:
    return [part.windows for part in model.modules() if isinstance(part, WindowAttention)]


def test_every_size_works() -> None:
    model = tiny(depths=(2, 2, 2), heads=(2, 2, 4)).eval()
    grids = [grid for _, grid in model.forward_stages(torch.randn(1, 3, 33, 50))]
    assert grids == [(9, 13), (5, 7), (3, 4)]
    assert model(torch.randn(1, 3, 1, 3)).isfinite().all()


def test_padding_of_the_image_and_of_odd_maps_is_zeros() -> None:
    """At the bottom and right. What the windows make of it aside, an image that is padded with zeros has the same tokens."""
    model = tiny(window=64).double().eval()
    image = torch.randn(1, 3, 30, 37, dtype=torch.float64)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 2))
    torch.testing.assert_close(model(image), model(padded), rtol=1e-12, atol=1e-12)


def test_padding_is_masked_unless_asked_for() -> None:
    image = torch.randn(1, 3, 36, 44, dtype=torch.float64)
    state = tiny().double().state_dict()
    given = {}
    for padding in ("masked", "attended", "hf", "timm"):
        model = tiny(padding=padding).double().eval()
        model.load_state_dict(state)
        given[padding] = model(image)
        masked = [windows.padding == "masked" for windows in partitions(model)]
        assert masked == [padding == "masked"] * 4
        whole = torch.randn(1, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        given[padding, "whole"] = model(whole)
    for one, two in (("masked", "attended"), ("masked", "timm"), ("attended", "timm")):
        assert (given[one] - given[two]).abs().max() > 1e-4 * given[one].abs().max()
        torch.testing.assert_close(given[one, "whole"], given[two, "whole"], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="padding must be one of 'masked', 'attended', 'hf', 'timm', got 'zeros'"):
        tiny(padding="zeros")


def test_rolled_windows() -> None:
    """Rolled, then padded with zeros; the last half window of the padded rows meets only itself."""
    windows = RolledWindows((4, 2), (2, 0))
    places = torch.arange(1, 16)[None, :, None]
    rows = windows.split(places, (5, 3))[0, :, :, 0].unflatten(0, (2, 2)).unflatten(2, (4, 2))
    rows = rows.permute(0, 2, 1, 3).reshape(8, 4)
    first = [[7, 8, 9, 0], [10, 11, 12, 0], [13, 14, 15, 0], [1, 2, 3, 0], [4, 5, 6, 0]]
    assert rows.tolist() == [*first, *[[0] * 4] * 3]
    assert torch.equal(windows.join(windows.split(places, (5, 3)), (5, 3)), places)
    labels = windows.labels((5, 3))
    assert labels is not None
    assert [sorted(set(window)) for window in labels.tolist()] == [[0], [0], [0, 2], [0, 2]]
    assert RolledWindows(4, (0, 0)).labels((5, 3)) is None
    with pytest.raises(ValueError, match="padding of rolled windows must be 'attended', got 'masked'"):
        RolledWindows(4, padding="masked")


def test_transformers_shifts_along_both_sides_or_along_neither() -> None:
    windows = partitions(tiny(padding="hf"))[1]
    assert isinstance(windows, ShiftedWindows)
    assert windows.offsets((8, 8)) == windows.offsets((5, 9)) == (2, 2)
    assert windows.offsets((8, 4)) == windows.offsets((4, 8)) == windows.offsets((4, 4)) == (0, 0)


def test_timm_shifts_no_windows_that_cover_the_map_of_its_image_size() -> None:
    shifts = [w.shift for w in partitions(tiny(image_size=(32, 64), padding="timm")) if isinstance(w, RolledWindows)]
    assert shifts == [(2, 2), (0, 2)]
    assert partitions(tiny(image_size=(32, 64), padding="timm"))[0] == Windows(4, padding="attended")


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


def test_windows_of_each_stage() -> None:
    model = Swin(num_classes=2, dim=8, depths=(1, 1), heads=(1, 1), window=[2, (4, 2)])
    sizes = [getattr(m.windows, "size", None) for m in model.modules() if isinstance(m, WindowAttention)]
    assert sizes == [(2, 2), (4, 2)]
    with pytest.raises(ValueError, match="window must be a size or a list of 2 of them"):
        Swin(num_classes=2, dim=8, depths=(1, 1), heads=(1, 1), window=[2])
