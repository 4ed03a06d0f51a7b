"""Swaps are saved with the weights and made again on a model that is as it was built."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file as write_file
from torch import Tensor, nn

from vitblocks import (
    PEG,
    AttentionPool,
    DynamicBias,
    GatedMlp,
    GlobalAttention,
    LocalWindowAttention,
    Model,
    QuickGELU,
    ReAttend,
    RelativeBias,
    RMSNorm,
    SequencePool,
    ShiftedWindows,
    SoftmaxAttend,
    TalkingHeadsAttention,
    ViT,
    WindowAttention,
    build,
    describe,
    part,
    swap,
    swap_attention,
)
from vitblocks.attention import Attention
from vitblocks.checkpoint import load_file, save
from vitblocks.surgery import swaps_of


def vit(**options: Any) -> ViT:
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 4, "num_classes": 5, "dim": 16, "depth": 3, "heads": 2}
    return ViT(**{**sizes, "mlp_dim": 24, "pool": "mean", **options}).eval()


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


@pytest.mark.parametrize("activation", [nn.GELU, partial(nn.GELU, approximate="tanh"), nn.ReLU, QuickGELU])
def test_an_activation_that_is_kept_comes_back(activation: Any, tmp_path: Path) -> None:
    model, fresh = vit(activation=activation), vit(activation=activation)
    swap(model, "feedforward", GatedMlp)
    save(shaken(model), tmp_path / "x")
    assert load_file(fresh, tmp_path / "x").ok
    assert torch.equal(fresh(images()), model(images()))
    assert describe(fresh) == describe(model)


def test_the_record_is_readable(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    report = swap_attention(model, LocalWindowAttention, where=1, window=(2, 4))
    old = {
        "class": "GlobalAttention",
        "args": {"dim": 16, "heads": 2, "attend": {"class": "SoftmaxAttend", "args": {}}},
    }
    new = describe(model.get_submodule("stages.0.layers.3.attn"))
    assert new["class"] == "LocalWindowAttention"
    assert new["args"]["window"] == {"tuple": [2, 4]}
    expected = {"family": "attention", "layers": {"stages.0.layers.3.attn": {"old": old, "new": new}}}
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


def test_a_swap_by_a_function_is_made_again(tmp_path: Path) -> None:
    def halves(old: Attention) -> Attention:
        return LocalWindowAttention(old.dim, old.heads, window=(2, 4))

    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, halves, where=0)
    save(shaken(model), path)
    fresh = vit()
    assert load_file(fresh, path).ok
    assert torch.equal(fresh(images()), model(images()))


class Unregistered(GlobalAttention):
    """An attention that cannot be described."""


def test_a_class_that_is_no_part_has_to_be_put_in_by_hand(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, Unregistered, where=0)
    save(shaken(model), path)
    fresh = vit()
    kinds = [type(module) for module in fresh.modules()]
    with pytest.raises(ValueError, match=r"same swap by hand.*layers\.2\.attn .*Unregistered is no part"):
        load_file(fresh, path)
    assert kinds == [type(module) for module in fresh.modules()]
    swap_attention(fresh, Unregistered, where=0)
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


@part
class MineAttention(GlobalAttention):
    """An attention of somebody else's that is registered."""


def test_classes_of_ones_own_are_found_if_registered(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "swapped.safetensors"
    swap_attention(model, MineAttention)
    save(shaken(model), path)
    fresh = vit()
    load_file(fresh, path)
    assert type(fresh.get_submodule("stages.0.layers.2.attn")) is MineAttention
    assert torch.equal(fresh(images()), model(images()))


def test_dropped_out_and_scaled_attends_are_described(tmp_path: Path) -> None:
    """What a swap sets on the Attend of the new kind is told by arguments, too."""
    model, path = vit(), tmp_path / "swapped.safetensors"
    for name in ("stages.0.layers.2.attn", "stages.0.layers.3.attn"):
        owner = model.get_submodule(name.removesuffix(".attn"))
        owner.attn = GlobalAttention(16, 2, attend=SoftmaxAttend(scale=0.3, dropout=0.2))
    swap_attention(model, TalkingHeadsAttention, where=0)
    save(model, path)
    again = build(json.loads(json.dumps(describe(model))))
    attend: Any = again.get_submodule("stages.0.layers.2.attn.attend")
    assert (attend.scale, attend.dropout) == (0.3, 0.2)


# Another composition is refused.


def test_a_model_swapped_by_hand_is_refused_by_name(tmp_path: Path) -> None:
    """All keys match, and yet it is another model."""
    model, path = vit(), tmp_path / "plain.safetensors"
    layer: Any = model.get_submodule("stages.0.layers.3")
    layer.attn = LocalWindowAttention(16, 2, window=2)
    save(model, path)
    fresh = vit()
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"stages\.0\.layers\.3\.attn is a GlobalAttention here, a LocalWindowAttention there"
    ):
        load_file(fresh, path)
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())
    report = load_file(fresh, path, strict=False)
    assert not report.ok
    assert len(report.composition) == 1


COMPOSED: dict[str, tuple[dict[str, Any], str]] = {
    "heads": ({"heads": 4}, r"layers\.2\.attn \(GlobalAttention\): heads is 4 here, 2 there"),
    "pool": ({"pool": "cls"}, r"pool is a ClassPool here, a MeanPool there"),
    "depth": ({"depth": 2}, r"layers\.4 is only there"),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_model_of_other_settings_is_refused_by_name(name: str, tmp_path: Path) -> None:
    options, message = COMPOSED[name]
    path = tmp_path / "plain.safetensors"
    save(vit(), path)
    with pytest.raises(ValueError, match=message):
        load_file(vit(**options), path)


def test_rates_and_other_image_sizes_are_no_other_model(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    model = vit()
    save(model, path)
    other = vit(drop_path=0.3, dropout=0.1, emb_dropout=0.2)
    assert load_file(other, path).ok
    assert torch.equal(other(images()), model(images()))
    assert load_file(vit(image_size=32), path, resize=True).resized


def test_a_class_that_composes_is_as_good_as_what_it_is_composed_of(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "plain.safetensors"
    save(model, path)
    plain = Model(model.embed, list(model.stages), pool=model.pool, norm=model.norm, head=model.head)
    assert load_file(plain, path).ok


# Files of version 0.1.

OLD_RECORDS: list[dict[str, Any]] = [
    {
        "family": "attention",
        "layers": {
            "stages.0.layers.2.attn": {
                "class": "vitblocks.attention.local_window.WindowAttention",
                "options": {
                    "windows": {
                        "class": "vitblocks.attention.windows.ShiftedWindows",
                        "options": {"size": 2, "shift": 1},
                    },
                    "position_bias": {
                        "class": "vitblocks.position.relative_bias.RelativeBias",
                        "options": {"heads": 2, "grid": [2, 2]},
                    },
                },
            },
            "stages.0.layers.3.attn": {
                "class": "vitblocks.attention.talking_heads.TalkingHeadsAttention",
                "options": {},
            },
        },
    },
    {
        "family": "feedforward",
        "layers": {
            "stages.0.layers.4.mlp": {
                "class": "vitblocks.feedforward.GatedMlp",
                "options": {"activation": {"name": "torch.nn.modules.activation.ReLU"}},
            }
        },
    },
    {
        "family": "norm",
        "layers": {
            "stages.0.layers.2.norm1": {
                "class": "torch.nn.modules.normalization.RMSNorm",
                "options": {"normalized_shape": [16], "eps": 1e-06},
            }
        },
    },
    {
        "family": "pool",
        "layers": {
            "pool": {
                "class": "vitblocks.pool.attention_pool.AttentionPool",
                "options": {
                    "dim": 16,
                    "heads": 2,
                    "norm": {"partial": {"name": "torch.nn.modules.normalization.LayerNorm"}, "options": {"eps": 1e-3}},
                },
            }
        },
    },
]


def old_file(path: Path, records: Any, weights: dict[str, Tensor]) -> None:
    write_file({key: value.contiguous() for key, value in weights.items()}, path, {"swaps": json.dumps(records)})


def test_files_of_version_0_1_load(tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "old.safetensors"
    swap_attention(model, WindowAttention, where=0, windows=ShiftedWindows(2, 1), position_bias=RelativeBias(2, 2))
    swap_attention(model, TalkingHeadsAttention, where=1)
    swap(model, "feedforward", GatedMlp, "stages.0.layers.4.mlp", activation=nn.ReLU)
    swap(model, "norm", nn.RMSNorm, "stages.0.layers.2.norm1")
    swap(model, "pool", AttentionPool, heads=2, norm=partial(nn.LayerNorm, eps=1e-3))
    old_file(path, OLD_RECORDS, shaken(model).state_dict())
    fresh = vit()
    assert load_file(fresh, path).ok
    assert torch.equal(fresh(images()), model(images()))
    assert [type(module) for module in fresh.modules()] == [type(module) for module in model.modules()]


# What somebody else may have written.

ATTENTION = "stages.0.layers.2.attn"
LOCAL = "vitblocks.attention.local_window.LocalWindowAttention"


def old_swap(kind: Any = LOCAL, name: str = ATTENTION, family: Any = "attention", **options: Any) -> list[Any]:
    return [{"family": family, "layers": {name: {"class": kind, "options": options}}}]


def new_swap(new: Any, name: str = ATTENTION, family: Any = "attention", **layer: Any) -> list[Any]:
    return [{"family": family, "layers": {name: {"new": new, **layer}}}]


HOSTILE: dict[str, Any] = {
    "no list": {"family": "attention"},
    "no records": [3],
    "no layers": [{"family": "attention", "layers": {}}],
    "no such family": old_swap(family="os"),
    "a family of another type": old_swap(family=3),
    "a function that runs text": old_swap("vitblocks.ejection.verify.load_model", text="open('ran', 'w')"),
    "a function of this package": old_swap("vitblocks.checkpoint.storage.write_file", filename="ran", tensors=[]),
    "an import": old_swap("vitblocks.checkpoint.convert.import_module", name="this"),
    "a system call": old_swap("os.system", command="touch ran"),
    "a class that is no layer": old_swap("vitblocks.zoo.vit.ViT"),
    "a class of torch": old_swap("torch.nn.modules.linear.Linear", in_features=3, out_features=3),
    "a registered function": old_swap("vitblocks.grid.num_prefix"),
    "a class in the options": old_swap(
        window={"class": "vitblocks.ejection.verify.load_model", "options": {"text": "1"}}
    ),
    "a name in the options": old_swap(attend={"name": "builtins.eval"}),
    "a partial in the options": old_swap(attend={"partial": {"name": "os.system"}, "options": {}}),
    "a partial of nothing": old_swap(attend={"partial": 3}),
    "options of another type": [{"family": "attention", "layers": {ATTENTION: {"class": LOCAL, "options": 3}}}],
    "a class of another type": old_swap([LOCAL]),
    "no layer of this name": old_swap(name="stages.0.layers.99.attn", window=2),
    "a layer that is none": old_swap(name="stages.0.layers.2.attn.dim", window=2),
    "a dunder": old_swap(name="__class__", window=2),
    "the model itself": old_swap(name="", window=2),
    "an enormous window": old_swap(window=10**9),
    "a wrong type": old_swap(window="2"),
    "an enormous width": old_swap(
        "vitblocks.feedforward.GatedMlp", "stages.0.layers.2.mlp", "feedforward", mlp_dim=10**9
    ),
    "a wide width": old_swap(
        "vitblocks.feedforward.GatedMlp", "stages.0.layers.2.mlp", "feedforward", mlp_dim=10**6 - 1, dim=10**6
    ),
    "described as nothing": new_swap(3),
    "described as something unknown": new_swap({"class": "os.system", "args": {"command": "touch ran"}}),
    "described as another kind": new_swap({"class": "nn.Linear", "args": {"in_features": 1, "out_features": 1}}),
    "described as enormous": new_swap({"class": "GlobalAttention", "args": {"dim": 10**9}}),
    "described as deep": new_swap(json.loads('{"class": "nn.Sequential", "args": {"0": ' * 200 + "3" + "}}" * 200)),
    "of another width": new_swap({"class": "GlobalAttention", "args": {"dim": 32, "heads": 4}}),
    "of another layer": new_swap(
        {"class": "GlobalAttention", "args": {"dim": 16}}, old={"class": "Mlp", "args": {"dim": 16}}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_anybodys_runs_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, path = vit(), tmp_path / "file.safetensors"
    old_file(path, HOSTILE[name], model.state_dict())
    kept = {name: id(module) for name, module in model.named_modules()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modules = set(sys.modules)
    with pytest.raises(ValueError, match="file\\.safetensors"):
        load_file(model, path)
    assert kept == {name: id(module) for name, module in model.named_modules()}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.safetensors"]
    assert "this" not in set(sys.modules) - modules


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"class": "os.system"}', "3", '"ViT"', "NaN"])
def test_a_recipe_of_anybodys(text: str, tmp_path: Path) -> None:
    model, path = vit(), tmp_path / "file.safetensors"
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    for about in ({"recipe": text}, {"swaps": text}):
        write_file(weights, path, about)
        with pytest.raises(ValueError, match=r"file\.safetensors"):
            load_file(model, path)
    write_file(weights, path, {"recipe": text})
    assert not load_file(model, path, strict=False).ok  # the weights themselves are fine
