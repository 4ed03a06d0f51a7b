"""A trained model gets a head for other classes, and says how wide its features and maps are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks import LeViT, Model, ViT, build, describe
from vitblocks.head import AveragedHeads

from .zoo.tiny import TINY

MODELS = {name: tiny for name, tiny in TINY.items() if isinstance(tiny.build(), Model)}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gets_a_head_for_other_classes(name: str) -> None:
    model = MODELS[name].build().eval().double()
    x = torch.rand(2, 3, *2 * [MODELS[name].image_size], dtype=torch.float64)
    with torch.no_grad():
        features = model.forward_features(x)
        assert model.num_features == features.shape[-1]
        infos = model.feature_info
        assert len(infos) == len(model.stages)
        try:
            maps = model.feature_maps(x)
        except ValueError:  # tokens were dropped
            maps = []
        for info, found in zip(infos, maps, strict=False):
            assert (info.channels, info.stride) == (found.map.shape[1], found.stride)
        kind = type(model.head)
        assert model.reset_head(7) is model
        assert type(model.head) is kind
        assert model(x).shape == (2, 7)
        assert torch.equal(model.forward_features(x), features)
        assert not any(module.training for module in model.modules())
        again = build(describe(model)).double().eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(x), model(x))
        assert model.reset_head(0)(x).shape == (2, model.num_features)
        assert model.reset_head(3)(x).shape == (2, 3)


def test_a_head_starts_anew_in_place_of_the_old() -> None:
    model = ViT(image_size=8, patch_size=4, num_classes=3, dim=64, depth=1, heads=2, mlp_dim=8)
    model.labels = ["a", "b", "c"]
    old = model.head
    model.reset_head(3)
    assert model.labels == ["a", "b", "c"]
    assert isinstance(model.head, nn.Linear)
    assert model.head is not old
    assert not torch.equal(model.head.weight, old.weight)
    assert model.head.weight.std() < 0.03
    assert model.reset_head(5).labels is None
    with pytest.raises(ValueError, match="num_classes must be at least 0"):
        model.reset_head(-1)
    model.head = nn.PReLU()
    with pytest.raises(ValueError, match="the head, a PReLU, has no Linear"):
        model.reset_head(2)


def test_both_heads_of_a_student_are_new() -> None:
    model = LeViT(image_size=32, num_classes=3, dim=(16, 24), depth=1, heads=2, stages=2, key_dim=8, distilled=True)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.fill_(9.0)
    model.reset_head(4)
    assert isinstance(model.head, AveragedHeads)
    assert [parameter.max().item() < 2 for parameter in model.head.parameters()] == [True] * 8
    assert all(len(each) == 2 for each in model.head.each(torch.rand(2, 24)))
