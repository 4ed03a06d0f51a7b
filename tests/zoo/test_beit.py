"""BEiT and BEiT v2."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from vitblocks import BEiT, ClassRelativeBias, RelativeBias, build, describe
from vitblocks.checkpoint import export, load
from vitblocks.position import resize_offsets_as_beit, resize_offsets_as_transformers

from .common import check_eager


def tiny(**options: Any) -> BEiT:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return BEiT(**{**sizes, **options})


@pytest.mark.parametrize(
    "options", [{}, {"pool": "cls", "shared_bias": True, "absolute_positions": True, "mask_token": True}]
)
def test_does_what_every_model_does(options: dict[str, Any]) -> None:
    """Compiled and exported it is by tests/transforms."""
    check_eager(tiny(**options, drop_path=0.1, dropout=0.1), torch.randn(2, 3, 32, 48), classes=5)


def test_branches_end_smaller_the_deeper_they_are() -> None:
    torch.manual_seed(0)
    model = tiny(depth=8, dim=64, mlp_dim=64)
    spread = [block.get_parameter("attn.proj.weight").std().item() for _, block in model.blocks()]
    assert spread[0] == pytest.approx(0.02 / 2**0.5, rel=0.1)
    assert spread[7] == pytest.approx(0.02 / 16**0.5, rel=0.1)


def test_a_shared_bias_is_one_weight() -> None:
    model = tiny(shared_bias=True)
    first, second = (block.attn.position_bias for _, block in model.blocks())
    assert first is second
    single, apart = (sum(p.numel() for p in tiny(bias_factory=f).parameters()) for f in (None, ClassRelativeBias))
    assert sum(p.numel() for p in model.parameters()) == (single + apart) / 2
    again = build(describe(model))
    first, second = (block.attn.position_bias for _, block in again.blocks())
    assert first is second


@pytest.mark.parametrize("layout", ["timm", "hf"])
def test_one_shared_table_is_read_and_written(layout: str) -> None:
    model, other = (tiny(shared_bias=True, mask_token=True) for _ in range(2))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    state = export(model, layout)
    assert sum("relative_position_bias_table" in key for key in state) == 1
    load(other, state, layout=layout)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


def test_columns_are_confused_with_rows_where_transformers_do_it() -> None:
    table = torch.randn(1, 2, 5, 3, dtype=torch.float64)
    scrambled = resize_offsets_as_transformers(table, (5, 3))
    assert (scrambled - table).abs().max() > 0.1
    expected = torch.nn.functional.interpolate(table.reshape(1, 2, 3, 5), size=(5, 3), mode="bilinear")
    assert torch.equal(scrambled, expected)
    square = torch.randn(1, 2, 5, 5)
    assert resize_offsets_as_transformers(square, (5, 5)) is square


def test_near_offsets_stay_near() -> None:
    bias = RelativeBias(1, 3, resize=resize_offsets_as_beit).double()
    own = bias.offsets((3, 3))
    larger = bias.offsets((5, 5))
    torch.testing.assert_close(larger[:, 3:6, 3:6], own[:, 1:4, 1:4])  # at a distance of 1 and 0
    torch.testing.assert_close(larger[:, ::8, ::8], own[:, ::4, ::4], rtol=1e-4, atol=1e-6)  # the corners
    assert torch.equal(bias.offsets((3, 3)), RelativeBias.offsets(bias, (3, 3)))
    with pytest.raises(ValueError, match=r"odd sides, got \(5, 5\) for \(4, 5\)"):
        resize_offsets_as_beit(own[None], (4, 5))


def test_positions_of_another_size_are_resized_by_the_authors_rule() -> None:
    small, large = tiny(depth=1), tiny(depth=1, image_size=(48, 32))
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter)
    load(large, export(small, "timm"), layout="timm", resize=True, grid=(4, 4))
    image = torch.randn(1, 3, 48, 32)
    torch.testing.assert_close(large.eval()(image), small.eval()(image))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'mean', got 'max'"):
        tiny(pool="max")
    with pytest.raises(TypeError, match="resize must be something to call"):
        tiny(bias_factory=partial(ClassRelativeBias, resize="bilinear"))
