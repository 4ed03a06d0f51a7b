"""A model is built and loaded from a name, a repository, a folder or a bare file; repositories lie as the Hub's cache has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vitblocks import Preprocessing, ViT, create_model, list_models, load_model, preprocess
from vitblocks.border import folder_of, loading, published
from vitblocks.border.published import weights_of
from vitblocks.checkpoint import export
from vitblocks.position import resize_table_as_timm
from vitblocks.registry import variants

from ..checkpoint.common import same

TIMM = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
CONFIG: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 1000,
    "pretrained_cfg": {
        "tag": "augreg_in21k_ft_in1k",
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 1000,
    },
}


def repository(cache: Path, name: str, config: dict[str, Any], state: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Write a repository into a cache, and give what makes huggingface_hub look only there."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps(config))
    save_file(state, snapshot / "model.safetensors")
    return {"cache_dir": cache, "local_files_only": True}


@pytest.fixture(scope="module")
def tiny() -> Any:
    return create_model("vit_tiny_patch16_224")


@pytest.fixture(scope="module")
def hub(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return repository(tmp_path_factory.mktemp("hub"), TIMM, CONFIG, export(tiny, "timm"))


@pytest.mark.parametrize("name", [TIMM, f"hf-hub:{TIMM}", TIMM.removeprefix("timm/"), "vit_tiny_patch16_224"])
def test_timms_repository(name: str, tiny: Any, hub: dict[str, Any]) -> None:
    model: Any = load_model(name, **hub)
    assert same(model, tiny)
    assert not model.training
    assert preprocess(model) == Preprocessing((224, 224), (248, 248), mean=(0.5,) * 3, std=(0.5,) * 3)


def test_pretrained_by_our_name(tiny: Any, hub: dict[str, Any]) -> None:
    model: Any = load_model("vit_tiny_patch16_224", num_classes=7, **hub)
    assert model(torch.rand(1, 3, 224, 224)).shape == (1, 7)
    assert torch.equal(model.embed.get_parameter("conv.weight"), tiny.embed.get_parameter("conv.weight"))


def test_create_model_by_the_name_of_weights(tiny: Any, hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "folder_of", lambda name: folder_of(name, **hub))
    model: Any = create_model("vit_tiny_patch16_224", pretrained=True)
    assert same(model, tiny)
    other: Any = create_model(
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k", num_classes=5, image_size=112, pretrained=True
    )
    assert other(torch.rand(1, 3, 112, 112)).shape == (1, 5)
    assert torch.equal(other.norm.weight, tiny.norm.weight)
    assert preprocess(other).size == (112, 112)
    fresh: Any = create_model("vit_tiny_patch16_224.augreg_in21k")
    assert fresh.head.out_features == 21843
    with pytest.raises(ValueError, match="no published weights are known for 'cct_7_3x1_32'"):
        create_model("cct_7_3x1_32", pretrained=True)
    assert "vit_tiny_patch16_224.augreg_in21k" in list_models("vit_tiny*", pretrained=True)


def test_our_own_folder(tmp_path: Path) -> None:
    model = ViT(image_size=16, patch_size=4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
    model.labels = ["a", "b", "c"]
    model.save_pretrained(tmp_path)
    again: Any = load_model(tmp_path)
    assert same(again, model)
    assert again.labels == model.labels


def test_a_bare_file_is_known_by_its_names_and_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: variant for name, variant in variants().items() if name.startswith(("levit_128", "vit_tiny"))}
    monkeypatch.setattr(loading, "variants", lambda: few)
    loading._sizes.cache_clear()
    model = create_model("levit_128s", num_classes=10)
    save_file(export(model, "timm"), tmp_path / "a.safetensors")
    torch.save({"model": export(model, "official"), "epoch": 3}, tmp_path / "b.pth")
    for name in ("a.safetensors", "b.pth"):
        found = load_model(tmp_path / name)
        assert type(found) is type(model)
        assert same(found, model)
    save_file({"a": torch.ones(3)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"c.safetensors has the weights of no published variant"):
        load_model(tmp_path / "c.safetensors")
    loading._sizes.cache_clear()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "resnet50"}, r"config.json: no variant is called 'resnet50'"),
        ({"architecture": "vit_tiny_patch16_224", "model_args": {"qk_norm": True}}, "qk_norm = True.*with timm, then"),
        ({**CONFIG, "model_args": {"img_size": 32}}, r"pos_embed is \(1, 197, 192\), must be \(1, 5, 192\)"),
        ({**CONFIG, "global_pool": "avg"}, "global_pool is 'avg', and ViT has ClassPool"),
        ({"architecture": "vit_small_patch16_224"}, "vit_tiny|missing|misshaped"),
        ({"hidden": 3}, r"config.json must be of vitblocks, timm or transformers, it has 'hidden'"),
    ],
)
def test_what_cannot_be_built_is_refused(config: Any, message: str, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(export(tiny, "timm"), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_what_timm_was_asked_for_is_read(tmp_path: Path) -> None:
    args = {
        "in_chans": 1,
        "img_size": [64, 96],
        "global_pool": "token",
        "drop_path_rate": 0.2,
        "dynamic_img_size": True,
    }
    about = {**CONFIG["pretrained_cfg"], "mean": [0.4], "std": [0.2]}
    config = {**CONFIG, "num_classes": 5, "model_args": args, "pretrained_cfg": about}
    (tmp_path / "config.json").write_text(json.dumps(config))
    theirs = create_model("vit_tiny_patch16_224", num_classes=5, channels=1, image_size=(64, 96))
    save_file(export(theirs, "timm"), tmp_path / "model.safetensors")
    model: Any = load_model(tmp_path)
    assert same(model, theirs)
    assert preprocess(model).channels == "grey"
    assert model.stages[0].layers[-1].shortcut2.drop_path.rate == pytest.approx(0.2)
    assert model.stages[0].layers[1].resize is resize_table_as_timm


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no .*config.json"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file none.pth"):
        load_model("none.pth")
    with pytest.raises(
        ValueError, match="no published weights are known for 'vit_tinny_patch16_224'; did you mean vit_tiny"
    ):
        load_model("vit_tinny_patch16_224")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is no JSON"):
        load_model(tmp_path)


def test_the_table_names_variants_and_where_their_weights_lie() -> None:
    table = published()
    assert len(table) > 90
    assert all(row.hub.count("/") == 1 for row in table.values())
    assert {row.variant for row in table.values()} <= {*list_models()}
    assert weights_of("cait_s24_224").hub == "timm/cait_s24_224.fb_dist_in1k"
    assert weights_of("vit_base_patch16_224").num_classes == 1000


@pytest.mark.slow  # counts the parameters of every model on both sides
def test_the_table_is_what_timm_says() -> None:
    pytest.importorskip("timm")
    from .published import TABLE, text

    assert TABLE.read_text() == text()
