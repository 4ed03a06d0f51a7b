"""RoPE-ViT."""

from __future__ import annotations

from functools import partial
from math import pi
from typing import Any

import pytest
import torch

from vitblocks import GlobalAttention, RoPEViT, Rotary2d

from .common import check_eager

MIXED = partial(Rotary2d, base=10.0, first="column", mixed_heads=2)


def tiny(**options: Any) -> RoPEViT:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return RoPEViT(**{**sizes, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"positions_rotary": MIXED, "absolute_positions": True, "registers": 2},
        {"pool": "mean", "registers": 1, "key_bias": False},
        {"pool": "mean", "qkv_bias": False},
    ],
)
def test_does_what_every_model_does(options: dict[str, Any]) -> None:
    """Compiled and exported it is by tests/transforms."""
    check_eager(tiny(**options, drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 48), classes=5)


def test_the_first_axis_turns_the_first_channels() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    row, column = (Rotary2d(8, first=first).angles((3, 3), like) for first in ("row", "column"))
    torch.testing.assert_close(column, row.unflatten(0, (3, 3)).transpose(0, 1).flatten(0, 1))


def test_mixed_positions_start_as_axial_ones_of_axes_that_are_turned() -> None:
    torch.manual_seed(0)
    mixed = Rotary2d(8, base=10.0, mixed_heads=3).double()
    assert mixed.frequencies is not None
    sizes = mixed.frequencies.square().sum(dim=0).sqrt()
    expected = 10.0 ** (-torch.arange(2, dtype=torch.float64) / 2)
    torch.testing.assert_close(sizes, expected.repeat(3, 2), rtol=1e-6, atol=0)
    ways = torch.atan2(mixed.frequencies[1], mixed.frequencies[0]).detach()
    assert len({round(float(way), 4) for way in ways[:, 0]}) == 3
    torch.testing.assert_close((ways[:, 2:] - ways[:, :2]) % (2 * pi), torch.full((3, 2), pi / 2).double())


def test_mixed_positions_depend_on_offsets_alone_and_on_the_head() -> None:
    torch.manual_seed(0)
    rotary, grid = Rotary2d(8, base=10.0, mixed_heads=2).double(), (4, 5)
    q, k = torch.randn(2, 8, dtype=torch.float64)
    turned_q, turned_k = rotary(*(x.expand(1, 2, 20, 8) for x in (q, k)), grid)
    products = torch.einsum("hqd,hkd->hqk", turned_q[0], turned_k[0]).unflatten(2, grid).unflatten(1, grid)
    torch.testing.assert_close(products[:, 0, 0, 1, 2], products[:, 2, 1, 3, 3])
    assert (products[0, 0, 0, 1, 2] - products[1, 0, 0, 1, 2]).abs() > 1e-3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'mean', got 'max'"):
        tiny(pool="max")
    with pytest.raises(ValueError, match="first must be one of 'row', 'column', got 'x'"):
        Rotary2d(8, first="x")
    attention = GlobalAttention(16, 4, rotary=Rotary2d(4, mixed_heads=2))
    with pytest.raises(ValueError, match="2 heads of the mixed Rotary2d"):
        attention(torch.zeros(1, 4, 16), (2, 2))
