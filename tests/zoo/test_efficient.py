"""ViT around a transformer from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks.zoo.efficient import ViT

from .common import check_gradients, check_logits, check_model


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def tiny(transformer: nn.Module, **options: Any) -> ViT:
    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 16}
    return ViT(**sizes | {"transformer": transformer} | options)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_does_what_every_model_does(pool: str) -> None:
    check_model(tiny(encoder(), pool=pool, emb_dropout=0.1), torch.randn(2, 3, 32, 32), classes=5)


def foreign(model: ViT) -> None:
    image = torch.randn(2, 3, 32, 32)
    check_logits(model, image, 5)
    check_gradients(model, image)
    assert model.eval()(torch.randn(1, 3, 16, 48)).shape == (1, 5)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_nystromformer(pool: str) -> None:
    nystrom = pytest.importorskip("nystrom_attention")
    foreign(tiny(nystrom.Nystromformer(dim=16, depth=1, heads=2, num_landmarks=4), pool=pool))


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_x_transformers(pool: str) -> None:
    x_transformers = pytest.importorskip("x_transformers")
    transformer = x_transformers.Encoder(dim=16, depth=2, heads=2, ff_glu=True, residual_attn=True)
    foreign(tiny(transformer, pool=pool))


def test_the_transformer_keeps_its_weights() -> None:
    transformer = encoder()
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    model = tiny(transformer)
    assert all(torch.equal(before[key], value) for key, value in transformer.state_dict().items())
    assert any(part is transformer for part in model.modules())


def test_the_transformer_sees_prefix_tokens_first() -> None:
    class Marked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (torch.arange(x.shape[1]) == 0)[None, :, None]

    model = tiny(Marked(), prefix_tokens=3)
    x, grid = model.forward_stages(torch.randn(1, 3, 32, 32))[-1]
    assert x.shape == (1, 3 + 16, 16)
    assert grid == (4, 4)
    token, table = model.get_parameter("stages.0.layers.0.token"), model.get_parameter("stages.0.layers.1.table")
    torch.testing.assert_close(x[:, 0], token[:, 0] + table[:, 0])
    assert not x[:, 1:].any()


def test_channels_rectangles_and_features() -> None:
    model = tiny(nn.Identity(), channels=1, image_size=(16, 32), patch_size=(8, 4), num_classes=0)
    assert model(torch.randn(2, 1, 24, 20)).shape == (2, 16)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear must keep the shape"):
        tiny(nn.Linear(16, 8))(torch.randn(1, 3, 32, 32))
    with pytest.raises(ValueError, match="pool"):
        tiny(encoder(), pool="max")
    with pytest.raises(ValueError, match="prefix_tokens"):
        tiny(encoder(), prefix_tokens=0)
    with pytest.raises(ValueError, match="does not divide"):
        tiny(encoder(), image_size=30)
