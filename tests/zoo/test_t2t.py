"""T2T-ViT."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from vitblocks import T2TViT
from vitblocks.zoo.t2t import TokenTransformer, token_performer

from .common import check_model

BOTH = pytest.mark.parametrize("token_layer", [TokenTransformer, token_performer])


def tiny(**options: Any) -> T2TViT:
    sizes: dict[str, Any] = {"image_size": 32, "num_classes": 5, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 24}
    return T2TViT(**sizes | {"token_dim": 8} | options)


@BOTH
def test_does_what_every_model_does(token_layer: Any) -> None:
    check_model(
        tiny(token_layer=token_layer, drop_path=0.1, dropout=0.1, emb_dropout=0.1), torch.randn(2, 3, 32, 32), classes=5
    )


def test_tokens_are_narrow_between_the_soft_splits() -> None:
    maps = tiny(token_dim=8).feature_maps(torch.randn(1, 3, 32, 48))
    assert [(f.map.shape[1:], f.stride) for f in maps] == [
        ((8, 8, 12), (4, 4)),
        ((8, 4, 6), (8, 8)),
        ((16, 2, 3), (16, 16)),
    ]


@pytest.mark.parametrize("size", [(32, 64), (41, 35), (16, 16), (5, 9)])
def test_other_sizes(size: tuple[int, int]) -> None:
    assert tiny().eval()(torch.randn(1, 3, *size)).isfinite().all()


def test_other_sizes_are_what_a_model_made_for_them_gives() -> None:
    """Positions are computed, not resized."""
    model, other = tiny().eval(), tiny(image_size=(48, 32)).eval()
    weights = dict(model.named_parameters())
    other.load_state_dict(weights, strict=False)
    image = torch.randn(1, 3, 48, 32)
    torch.testing.assert_close(model(image), other(image))


@pytest.mark.parametrize("layers", [((8, 8),), ((7, 4), (3, 2)), ((3, 2), (3, 2), (3, 2), (3, 1))])
def test_any_number_of_soft_splits_and_channels(layers: Any) -> None:
    assert tiny(t2t_layers=layers, channels=2).eval()(torch.randn(1, 2, 32, 32)).shape == (1, 5)


@BOTH
def test_initial_weights(token_layer: Any) -> None:
    """Linears and the class token a truncated normal of 0.02, biases zero, in the soft splits too."""
    model = tiny(dim=64, token_dim=64, token_layer=token_layer)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" not in name:
            assert 0.7 * 0.02 < parameter.std() < 1.3 * 0.02, name


def test_token_performer_starts_as_the_authors_code() -> None:
    layer = token_performer(147, 64)
    features = layer.attend.features
    torch.testing.assert_close(features @ features.T, 32 * torch.eye(32), rtol=1e-4, atol=1e-4)
    assert layer.qkv.bias is not None
    assert layer.dropout.p == 0.1
    assert "attend.features" not in dict(layer.named_parameters())


def test_token_layer_is_a_part() -> None:
    """Another width of the hidden layer, say."""
    model = tiny(token_layer=partial(TokenTransformer, mlp_dim=12))
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 5)
    assert model.stages[0].layers[0].mlp.fc1.out_features == 12


def test_features_without_classes() -> None:
    assert tiny(num_classes=0)(torch.randn(2, 3, 32, 32)).shape == (2, 16)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 3\) or more"):
        tiny(image_size=2)
    with pytest.raises(ValueError, match=r"\(3, 3\) or more"):
        tiny()(torch.randn(1, 3, 32, 2))
    with pytest.raises(ValueError, match="t2t_layers"):
        tiny(t2t_layers=())
    with pytest.raises(ValueError, match="3 heads"):
        tiny(heads=3)
    with pytest.raises(ValueError, match="prefix_tokens"):
        tiny(prefix_tokens=0)


def test_scale_and_bias_of_the_attention_after_the_soft_splits() -> None:
    model = tiny(qkv_bias=True, attn_scale=16**-0.5)
    attns = [block.attn for block in model.stages[-1].layers if hasattr(block, "attn")]
    assert all(attn.qkv.bias is not None and attn.attend.scale == 16**-0.5 for attn in attns)
    assert len(attns) == 2
    assert all(key.split(".")[1] == "2" for key in model.state_dict() if key.endswith(".attn.qkv.bias"))
