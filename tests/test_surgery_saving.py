"""Swaps are saved with the weights and made again on a model that is as it was built."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from vitblocks import (
    PEG,
    DynamicBias,
    GatedMlp,
    GlobalAttention,
    LayerNorm,
    LinearNorm,
    LocalWindowAttention,
    Mlp,
    ReAttend,
    RelativeBias,
    RMSNorm,
    SequencePool,
    ShiftedWindows,
    TalkingHeadsAttention,
    ViT,
    WindowAttention,
    layer_norm,
    swap,
    swap_attention,
)
from vitblocks.attention import Attention
from vitblocks.checkpoint import load_file, save
from vitblocks.surgery import swaps_of
from vitblocks.surgery.record import Undescribed, build, describe


def vit() -> ViT:
    return ViT(image_size=16, patch_size=4, num_classes=5, dim=16, depth=3, heads=2, mlp_dim=24, pool="mean").eval()


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def shaken(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def test_many_swaps_come_back(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, WindowAttention, where=0, windows=ShiftedWindows(2, 1), position_bias=RelativeBias(2, 2))
    swap_attention(model, TalkingHeadsAttention, where=[1, 2])
    swap_attention(model, LocalWindowAttention, where=2, window=2, position_bias=DynamicBias(2, 4), attend=ReAttend(2))
    swap(model, "feedforward", GatedMlp, activation=nn.ReLU)
    swap(model, "norm", RMSNorm)
    swap(model, "position", PEG, kernel_size=5)
    swap(model, "pool", SequencePool)
    shaken(model)
    save(model, path)
    fresh = vit()
    assert load_file(fresh, path).ok
    assert torch.equal(fresh(images()), model(images()))
    assert repr(fresh) == repr(model)
    assert swaps_of(fresh) == json.loads(json.dumps(swaps_of(model)))
    # In a model that was swapped alike, and in the loaded one, nothing is swapped twice.
    assert load_file(fresh, path).ok
    assert torch.equal(fresh(images()), model(images()))


def test_the_record_is_readable(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    report = swap_attention(model, LocalWindowAttention, where=1, window=(2, 4))
    expected = {
        "family": "attention",
        "layers": {
            "stages.0.layers.3.attn": {
                "class": "vitblocks.attention.local_window.LocalWindowAttention",
                "options": {"window": [2, 4]},
            }
        },
    }
    assert report.config == expected
    save(model, path)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["swaps"]) == [expected]


def test_a_swap_inside_of_a_part_is_named_from_the_whole(tmp_path: Path) -> None:
    model, path = nn.ModuleDict({"student": vit()}), tmp_path / "swapped.safetensors"
    swap_attention(model["student"], TalkingHeadsAttention, where=0)
    save(shaken(model), path)
    fresh = nn.ModuleDict({"student": vit()})
    assert load_file(fresh, path).ok
    assert torch.equal(fresh["student"](images()), model["student"](images()))


def test_weights_of_an_unswapped_model_load_as_ever(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "plain.safetensors"
    report = swap_attention(model, TalkingHeadsAttention)
    report.undo()
    save(model, path)
    assert load_file(vit(), path).ok


def test_a_model_swapped_otherwise_is_refused(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, LocalWindowAttention, where=0, window=2)
    save(model, path)
    other = vit()
    swap_attention(other, LocalWindowAttention, where=1, window=2)
    with pytest.raises(
        ValueError, match=r"layers\.2\.attn \(LocalWindowAttention\) were swapped, but .*layers\.3\.attn"
    ):
        load_file(other, path)


def test_a_function_has_to_be_applied_by_hand(tmp_path: Path) -> None:
    def halves(old: Attention) -> Attention:
        return LocalWindowAttention(old.dim, old.heads, window=(2, 4))

    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, halves, where=0)
    save(shaken(model), path)
    fresh = vit()
    kinds = [type(module) for module in fresh.modules()]
    with pytest.raises(ValueError, match=r"same swap by hand.*layers\.2\.attn .*made by a function"):
        load_file(fresh, path)
    assert kinds == [type(module) for module in fresh.modules()]
    swap_attention(fresh, halves, where=0)
    assert load_file(fresh, path).ok
    assert torch.equal(fresh(images()), model(images()))


def test_a_model_that_does_not_fit_is_left_alone(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, TalkingHeadsAttention)
    save(model, path)
    other = ViT(image_size=16, patch_size=4, num_classes=7, dim=16, depth=3, heads=2, mlp_dim=24, pool="mean")
    kept = {name: id(module) for name, module in other.named_modules()}
    with pytest.raises(ValueError, match="head"):
        load_file(other, path)
    shallow = ViT(image_size=16, patch_size=4, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=24, pool="mean")
    with pytest.raises(ValueError, match=r"no layer stages\.0\.layers\.4\.attn"):
        load_file(shallow, path)
    assert kept == {name: id(module) for name, module in other.named_modules()}
    assert swaps_of(other) == []


class Mine(GlobalAttention):
    """An attention of somebody else's that is imported."""


def test_classes_of_ones_own_are_found_if_imported(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, Mine)
    save(shaken(model), path)
    fresh = vit()
    load_file(fresh, path)
    assert type(fresh.get_submodule("stages.0.layers.2.attn")) is Mine
    assert torch.equal(fresh(images()), model(images()))


@pytest.mark.parametrize(
    "path", ["os.system", "builtins.eval", "antigravity.Anything", "vitblocks.grid.Path", "nobody"]
)
def test_a_file_cannot_name_anything_else(path: str) -> None:
    with pytest.raises(ValueError, match="no module class that is imported"):
        build({"class": path, "options": {"command": "true"}})


@pytest.mark.parametrize(
    "make",
    [
        lambda: RelativeBias(2, (3, 4)),
        lambda: DynamicBias(2, 4),
        lambda: nn.Linear(3, 4, bias=False),
        lambda: nn.LayerNorm(4, eps=1e-3),
        lambda: ReAttend(2, dropout=0.1, weight_scale=2.0),
    ],
)
def test_modules_are_described_by_what_makes_them_again(make: Callable[[], nn.Module]) -> None:
    module = make()
    again = build(json.loads(json.dumps(describe(module))))
    assert repr(again) == repr(module)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}


def test_what_can_be_described_beside_modules() -> None:
    def again(value: Any) -> Any:
        return build(json.loads(json.dumps(describe(value))))

    assert again(ShiftedWindows(2, (0, 1))) == ShiftedWindows(2, (0, 1))
    assert again((1, "a", None, 2.5, True)) == (1, "a", None, 2.5, True)
    assert again(nn.ReLU) is nn.ReLU
    factory = again(layer_norm(1e-3))
    assert isinstance(factory, partial)
    assert factory(4).eps == 1e-3
    assert again(LayerNorm)(4).eps == 1e-6


@pytest.mark.parametrize(
    "value", [lambda x: x, object(), LinearNorm(2, 3), Mlp(2, 3), DynamicBias(2, 4, norm=RMSNorm), torch.ones(2)]
)
def test_what_cannot_be_described(value: Any) -> None:
    with pytest.raises(Undescribed):
        describe(value)
