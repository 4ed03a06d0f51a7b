"""ViT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import ClassToken, LearnedPosition, ViT

from .common import check_model


def tiny(**options: Any) -> ViT:
    sizes = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32}
    return ViT(**{**sizes, **options})


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_does_what_every_model_does(pool: str) -> None:
    check_model(tiny(pool=pool, drop_path=0.1, dropout=0.1, emb_dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (16, 8), (48, 40)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert tiny().eval()(torch.randn(1, 3, *size)).isfinite().all()


def test_a_smaller_image_reads_positions_of_the_whole_table() -> None:
    """Half the width keeps both ends of every row's positions, rather than the first rows of the flattened table."""
    model = tiny(num_classes=0)
    position = next(m for m in model.modules() if isinstance(m, LearnedPosition))
    ramp = torch.arange(4.0).repeat(4)  # the column of each place of the 4 x 4 grid
    with torch.no_grad():
        position.table[0, 1:] = ramp[:, None]
    resized = position.positions((4, 2))[0, 1:, 0].view(4, 2)
    assert (resized[:, 0] < 1).all()
    assert (resized[:, 1] > 2).all()


def test_rectangular_patches_and_other_channels() -> None:
    model = tiny(image_size=(32, 16), patch_size=(8, 4), channels=5)
    assert model(torch.randn(2, 5, 32, 16)).shape == (2, 5)
    assert model.strides == [(8, 4)]


def test_a_size_that_is_not_whole_patches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(24, 32\) or \(32, 32\)"):
        tiny()(torch.randn(1, 3, 30, 32))
    with pytest.raises(ValueError, match="patches of"):
        tiny(image_size=30)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="pool must be one of 'cls', 'mean', got 'max'"):
        tiny(pool="max")
    with pytest.raises(ValueError, match="dim 16 does not divide into 3 heads"):
        tiny(heads=3)
    with pytest.raises(ValueError, match="num_classes must be at least 0"):
        tiny(num_classes=-1)


def test_features_and_tokens() -> None:
    model, image = tiny(num_classes=0).eval(), torch.randn(2, 3, 32, 32)
    x, grid = model.encode(image)
    assert (x.shape, grid) == ((2, 17, 16), (4, 4))
    torch.testing.assert_close(model(image), x[:, 0])


def test_initial_weights() -> None:
    model = tiny(dim=64, heads=4, mlp_dim=128)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert 0.8 * 0.02 < module.weight.std() < 1.2 * 0.02
            assert not module.bias.any()
        elif isinstance(module, LearnedPosition):
            assert 0.8 * 0.02 < module.table.std() < 1.2 * 0.02
        elif isinstance(module, ClassToken):
            assert 0.5 * 0.02 < module.token.std() < 1.5 * 0.02


def test_activation_and_layer_scale() -> None:
    model = tiny(activation=nn.ReLU, layer_scale=0.5)
    assert not any(isinstance(part, nn.GELU) for part in model.modules())
    scales = [value for key, value in model.state_dict().items() if "scale" in key]
    assert len(scales) == 4
    assert all(torch.equal(scale, torch.full((16,), 0.5)) for scale in scales)
