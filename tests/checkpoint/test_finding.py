"""A checkpoint is read from whatever file it lies in, and its layout found; what was made otherwise is fitted when that is asked for."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitblocks import ViT
from vitblocks.checkpoint import Rule, export, load, read_checkpoint, resample_patches

from ..border import cases as cases  # which lets timm import torchvision
from ..zoo.tiny import TINY
from .common import same


def vit(**options: Any) -> ViT:
    sizes = {"image_size": 16, "patch_size": 4, "num_classes": 5, "dim": 8, "depth": 2, "heads": 2, "mlp_dim": 16}
    return ViT(**{**sizes, **options}).double()


LAYOUTS = [(name, layout) for name, tiny in TINY.items() for layout in getattr(type(tiny.build()), "layouts", {})]


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_layout_is_found(name: str, layout: str) -> None:
    model, other = TINY[name].build(), TINY[name].build()
    state = export(model, layout)
    report = load(other, {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3})
    assert same(model, other)
    known = type(model).layouts
    assert any(known[layout] is known[found] for found in known if f"{found} layout" in report.what)


def test_every_kind_of_file(tmp_path: Path) -> None:
    model = vit()
    state = export(model, "timm")
    torch.save({"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 2}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    keys = list(state)
    folder = tmp_path / "repository"
    folder.mkdir()
    shards = {"model-1.safetensors": keys[::2], "model-2.safetensors": keys[1::2]}
    for name, held in shards.items():
        save_file({key: state[key] for key in held}, folder / name)
    weight_map = {key: name for name, held in shards.items() for key in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for path in (tmp_path / "a.pth", tmp_path / "b.safetensors", folder, folder / "model.safetensors.index.json"):
        other = vit()
        load(other, path)
        assert same(model, other)


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch attacked",)


def test_what_a_file_must_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Attack()}, "attack.pth")
    torch.save([torch.ones(1)], "list.pth")
    Path("text.pth").write_text("no weights")
    Path("empty.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"attack.pth is no checkpoint that can be read without running code"):
        read_checkpoint("attack.pth")
    assert not Path("attacked").exists()
    with pytest.raises(ValueError, match=r"list.pth must hold tensors by name, it holds a list"):
        read_checkpoint("list.pth")
    for name in ("text.pth", "empty.bin"):
        with pytest.raises(ValueError, match=rf"{name} is no checkpoint"):
            read_checkpoint(name)
    with pytest.raises(FileNotFoundError, match=r"no weights at none.pth"):
        read_checkpoint("none.pth")
    with pytest.raises(FileNotFoundError, match=r"none of model.safetensors"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../b.safetensors"}}, "must name files beside it"),
        ({"weight_map": {"a": "b.index.json"}}, "must name files beside it"),
        ({"weight_map": {"a": ["b"]}}, "is no index of weights"),
        ({"weight_map": {"a": "b.safetensors"}}, "does not say that b.safetensors holds 'c'"),
        ({"weight_map": {"a": "b.safetensors", "c": "b.safetensors"}}, "names 'a', which is in none"),
        ([], "is no index of weights"),
    ],
)
def test_an_index_names_what_lies_beside_it(tmp_path: Path, index: Any, message: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    save_file({"c": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(path)


class Twins(ViT):
    """Two layouts that read the same names otherwise."""

    layouts = {  # noqa: RUF012
        "up": (Rule("norm.weight", "norm.weight"), Rule("norm.bias", "norm.bias"), Rule("{p}", "{p}")),
        "down": (Rule("norm.weight", "norm.bias"), Rule("norm.bias", "norm.weight"), Rule("{p}", "{p}")),
    }


def test_what_no_layout_or_several_fit_is_refused() -> None:
    model = vit()
    state = export(model, "timm")
    del state["norm.weight"]
    with pytest.raises(ValueError, match=r"whole by none of the layouts: \d+ entries by 'timm', .*say layout="):
        load(vit(), state)
    load(other := vit(), state, strict=False)
    assert torch.equal(other.head.get_parameter("weight"), model.head.get_parameter("weight"))
    with pytest.raises(ValueError, match="nothing in the checkpoint fits by any layout"):
        load(vit(), {"a": torch.ones(1)}, strict=False)
    sizes = {"image_size": 16, "patch_size": 4, "num_classes": 5, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
    both = Twins(**sizes)
    with pytest.raises(ValueError, match="may be of the layouts 'up', 'down', with other results"):
        load(both, export(both, "up"))
    nn.init.zeros_(both.norm.get_parameter("weight"))
    assert "up layout" in load(both, export(both, "up")).what


def test_other_classes_leave_the_head() -> None:
    model, other = vit(), vit(num_classes=7)
    head = other.head.get_parameter("weight").clone()
    with pytest.raises(ValueError, match=r"head.weight is \(5, 8\), must be \(7, 8\)"):
        load(other, export(model, "timm"))
    report = load(other, export(model, "timm"), adapt={"classes": "fresh"})
    assert [line.split(":")[0] for line in report.adapted] == ["head.weight", "head.bias"]
    assert torch.equal(other.head.get_parameter("weight"), head)
    assert torch.equal(other.norm.get_parameter("weight"), model.norm.get_parameter("weight"))


def test_other_channels() -> None:
    model, grey, many = vit(), vit(channels=1), vit(channels=5)
    load(grey, export(model, "timm"), adapt={"channels": "sum"})
    image = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(grey(image), model(image.expand(-1, 3, -1, -1)))
    report = load(many, export(model, "timm"), adapt={"channels": "repeat"})
    assert report.adapted == ("embed.conv.weight: 3 channels to 5 by repeat",)
    torch.testing.assert_close(many(image.expand(-1, 5, -1, -1)).shape, model(image.expand(-1, 3, -1, -1)).shape)
    weight, made = model.state_dict()["embed.conv.weight"], many.state_dict()["embed.conv.weight"]
    torch.testing.assert_close(made, 0.6 * weight[:, [0, 1, 2, 0, 1]])
    with pytest.raises(ValueError, match="channels can be summed to 1, the model has 5"):
        load(many, export(model, "timm"), adapt={"channels": "sum"})


def test_other_patches() -> None:
    """Twice as large an image of twice as large patches gives the same tokens (where resizing loses nothing)."""
    model, large = vit(), vit(patch_size=8, image_size=32)
    report = load(large, export(model, "timm"), adapt={"patch_size": "pseudo-inverse"})
    assert report.adapted == ("embed.conv.weight: patches of 4x4 to 8x8 by the pseudo-inverse",)
    patches = torch.rand(1, 3, 4, 4)
    resized = nn.functional.interpolate(patches, size=(8, 8), mode="bicubic", antialias=True)
    small_tokens, large_tokens = model.embed(patches.double())[0], large.embed(resized.double())[0]
    torch.testing.assert_close(large_tokens, small_tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (3, 5), (16, 12)])
def test_patches_are_resampled_as_timm_does(size: tuple[int, int]) -> None:
    layers = pytest.importorskip("timm.layers")
    weight: Tensor = torch.randn(6, 3, 6, 6)
    torch.testing.assert_close(
        resample_patches(weight, size), layers.resample_patch_embed(weight, list(size)), rtol=1e-4, atol=1e-4
    )


def test_what_is_fitted_is_checked_as_everything_is() -> None:
    grey, state = vit(channels=1), export(vit(), "timm")
    state["patch_embed.proj.weight"][0] = torch.nan
    before = {key: value.clone() for key, value in grey.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"timm layout, ViT: patch_embed\.proj\.weight: NaN or infinite in 16 of 128 numbers"
    ):
        load(grey, state, layout="timm", adapt={"channels": "sum"})
    assert all(torch.equal(value, before[key]) for key, value in grey.state_dict().items())
    assert load(grey, state, layout="timm", adapt={"channels": "sum"}, check_values=False).adapted


@pytest.mark.parametrize(
    ("adapt", "message"),
    [
        ({"colours": "sum"}, "adapt must have keys of classes, channels, patch_size"),
        ({"channels": "mean"}, "must be one of 'sum'"),
    ],
)
def test_what_cannot_be_asked_for(adapt: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(vit(), {}, adapt=adapt)
