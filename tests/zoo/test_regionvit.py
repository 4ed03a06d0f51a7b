"""RegionViT."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.golden.builders.regionvit import regionvit
from tests.golden.case import Case
from tests.golden.config import Config
from vitblocks import MapEmbed, RegionViT, create_model
from vitblocks.checkpoint import export, load
from vitblocks.grid import num_prefix
from vitblocks.position import RelativeBias

from .common import check_model


def tiny(**options: object) -> RegionViT:
    sizes = {
        "num_classes": 5,
        "dim": (16, 32),
        "depth": (2, 1),
        "window_size": 3,
        "heads": (2, 4),
        "mlp_ratio": 2.0,
    }
    return RegionViT(**{**sizes, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"drop_path": 0.1, "use_peg": True},
        pytest.param({"dropout": 0.1, "tokenize_local_3_conv": True, "carry_padding": True}, marks=pytest.mark.slow),
    ],
    ids=["PEG", "three convolutions and carried padding"],
)
def test_does_what_every_model_does(options: dict[str, object]) -> None:
    check_model(tiny(depth=(1, 1), **options), torch.randn(2, 3, 40, 56), classes=5)


@pytest.mark.parametrize("size", [(48, 24), (50, 38), (4, 47), (63, 64)])
@pytest.mark.parametrize("three", [False, True])
def test_one_regional_token_for_each_window(size: tuple[int, int], three: bool) -> None:
    model = tiny(tokenize_local_3_conv=three)
    stages = model.forward_stages(torch.randn(1, 3, *size))
    for x, grid in stages:
        assert num_prefix(x, grid) == -(-grid[0] // 3) * -(-grid[1] // 3)
    assert model(torch.randn(1, 3, *size)).shape == (1, 5)


def test_a_region_without_patches_is_refused() -> None:
    image = torch.randn(1, 3, 49, 48)
    with pytest.raises(ValueError, match=r"\(48, 48\) or \(60, 48\)"):
        tiny()(image)
    assert tiny(tokenize_local_3_conv=True)(image).shape == (1, 5)


def test_padding_is_not_attended_to() -> None:
    """Neither padding nor how much of it there is changes what a window of 3 makes of a map of 2 x 2."""
    torch.manual_seed(1)
    model = tiny(depth=(2, 2)).double().eval()
    fitting = tiny(depth=(2, 2), window_size=(3, 2)).double().eval()
    state = model.state_dict()
    for key in state:
        if key.endswith("table"):  # the offsets -1, 0, 1 of the columns' -2 to 2
            state[key] = state[key].unflatten(0, (5, 5))[:, 1:4].flatten(0, 1)
        if key == "embed.regional.weight":  # the image is 8 wide: padded by 2 on both sides to 12
            state[key] = state[key][..., 2:10]
    fitting.load_state_dict(state)
    image = torch.randn(2, 3, 24, 8, dtype=torch.float64)
    torch.testing.assert_close(model(image), fitting(image), rtol=1e-12, atol=1e-12)


def test_carried_padding_matters_where_windows_do_not_fit_and_only_there() -> None:
    plain, carried = tiny(depth=(2, 2)).double().eval(), tiny(depth=(2, 2), carry_padding=True).double().eval()
    carried.load_state_dict(dict(zip(carried.state_dict(), plain.state_dict().values(), strict=True)))
    for size, equal in (((48, 24), True), ((48, 20), False), ((40, 40), False)):
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        assert torch.allclose(plain(image), carried(image), rtol=0, atol=1e-12) == equal


def test_the_right_mask_is_the_default_and_differs_from_the_published_one() -> None:
    """By 6.7% of the largest logit in the case that holds it."""
    case = Case.read("tests/golden/regionvit_pad.json")
    model = regionvit(Config(case.config, tuple(case.input.shape)), carry_padding=False).double().eval()
    load(model, case.state, layout="official")
    expected = case.outputs["logits"]
    difference = (model(case.input) - expected).abs().max() / expected.abs().max()
    assert 0.05 < difference < 0.08


def test_published_models_with_windows_of_14_carry_padding() -> None:
    with torch.device("meta"):
        model = create_model("regionvit_small_w14_224")
    kinds = [type(layer).__name__ for layer in model.stages[3].layers]
    assert kinds == ["CarryPadding", "RegionalBlock", "RegionalBlock", "DropPadding"]


def test_initial_weights() -> None:
    for module in tiny(dim=(64, 128)).modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
            if module.weight.numel() > 1000:
                assert 0.9 * 0.02 < module.weight.std() < 1.1 * 0.02
        if isinstance(module, RelativeBias):
            assert 0.5 * 0.02 < module.table.std() < 1.5 * 0.02


def test_checkpoint_with_two_values_for_one_module_is_refused() -> None:
    model = tiny()
    theirs = export(model, "official")
    theirs["layers.1.block.0.proj_cls.2.bias"] += 1
    with pytest.raises(ValueError, match=r"proj_cls\.2\.bias.*differ"):
        load(model, theirs, layout="official")


def test_bias_table_is_read_as_theirs() -> None:
    """Each offset's bias, found by the formula of the authors' code rather than by our table."""
    window, heads = 4, 2
    model = tiny(window_size=window)
    theirs = export(model, "official")["layers.0.block.1.attn.rel_pos"].unflatten(1, (7, 7))
    bias = model.stages[0].layers[0].attn.position_bias((window, window))
    for y in range(window):
        for x in range(window):
            for dy in range(window):
                for dx in range(window):
                    expected = theirs[:, dy - y + window // 2, dx - x + window // 2]
                    assert torch.equal(bias[:, y * window + x, dy * window + dx], expected)
    assert bias.shape == (heads, 16, 16)


def test_channels_that_do_not_grow_by_whole_factors_are_refused() -> None:
    with pytest.raises(ValueError, match="16, 24"):
        tiny(dim=(16, 24), heads=(2, 2))


def test_another_tokenizer_and_channels_before_the_first_stage() -> None:
    tokenizer = MapEmbed(nn.Conv2d(3, 8, 2, stride=2))
    model = tiny(tokenizer=tokenizer, stem_dim=8, mlp_ratio=(1.0, 1.5))
    assert model.embed.local is tokenizer
    assert model.embed.regional.kernel_size == (6, 6)
    assert model.stages[0].transition.transition.conv[2].kernel_size == (1, 1)
    assert [block.mlp.fc1.out_features for _, block in model.blocks()] == [16, 16, 48]
    stages = model.forward_stages(torch.randn(1, 3, 24, 36))
    assert [grid for _, grid in stages] == [(12, 18), (6, 9)]
    assert model(torch.randn(1, 3, 24, 36)).shape == (1, 5)


def test_windows_of_each_stage() -> None:
    """The last stage of an image of one region has a single window, whatever its size."""
    wider = tiny(window_sizes=(3, 4), carry_padding=True)
    assert [part.grid for part in wider.modules() if isinstance(part, RelativeBias)] == [(3, 3), (3, 3), (4, 4)]
    assert wider(torch.randn(1, 3, 12, 12)).shape == (1, 5)
    with pytest.raises(ValueError, match="needs one prefix token per window"):
        tiny(window_sizes=(3, 1))(torch.randn(1, 3, 12, 12))
    loaded = tiny(window_sizes=(3, 4), carry_padding=True)
    load(loaded, export(wider, "official"), layout="official")
    assert all(
        torch.equal(one, two)
        for one, two in zip(loaded.state_dict().values(), wider.state_dict().values(), strict=True)
    )
