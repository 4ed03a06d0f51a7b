"""Loading, converting, exporting and saving weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from vitblocks import (
    PEG,
    CaiT,
    LinearEmbed,
    MeanPool,
    Model,
    RelativeBias,
    Stage,
    ViT,
    checkpoint as ck,
)
from vitblocks.position import resize_table, resize_table_as_dino, resize_table_as_timm
from vitblocks.position.resize import Resize

from .common import assert_same_state, snapshot, twins, vit


def cait() -> CaiT:
    return CaiT(image_size=8, patch_size=4, num_classes=3, dim=8, depth=2, cls_depth=1, heads=2, mlp_dim=16)


# Loading

MODELS = {
    "vit": (vit, ("timm", "official", "vit_pytorch")),
    "vit_mean": (lambda: vit(pool="mean"), ("timm",)),
    "vit_linear": (lambda: vit(embed=LinearEmbed(4, 8)), ("timm", "vit_pytorch")),
    "vit_no_head": (lambda: vit(num_classes=0), ("timm",)),
    "cait": (cait, ("timm", "official")),
    "twins": (twins, ("timm", "official")),
}


@pytest.mark.parametrize(
    ("name", "layout"), [(name, layout) for name, (_, layouts) in MODELS.items() for layout in layouts]
)
def test_export_then_load(name: str, layout: str) -> None:
    build = MODELS[name][0]
    source, target = build(), build()
    assert layout in ck.layouts(source)
    report = ck.load(target, ck.export(source, layout), layout=layout)
    assert report.ok
    assert set(report.loaded) == set(source.state_dict())
    assert_same_state(target, snapshot(source))


def test_linear_and_convolutional_patches_exchange_weights() -> None:
    conv, linear = vit().double(), vit(embed=LinearEmbed(4, 8)).double()
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    for layout in ("timm", "vit_pytorch"):
        ck.load(linear, ck.export(conv, layout), layout=layout)
        torch.testing.assert_close(linear(image), conv(image))


def test_strict_report_names_everything_and_leaves_the_model() -> None:
    model = cait()
    state = ck.export(cait(), "timm")
    del state["blocks_token_only.0.attn.k.weight"]
    state["blocks.1.attn.qkv.weight"] = torch.zeros(5, 8)
    state["surprise"] = torch.zeros(1)
    before = snapshot(model)
    with pytest.raises(ValueError, match="missing: 1") as caught:
        ck.load(model, state, layout="timm")
    message = str(caught.value)
    assert "blocks_token_only.0.attn.k.weight -> stages.0.layers.5.attn.kv.weight" in message
    assert "blocks.1.attn.qkv.weight is (5, 8), must be (24, 8) -> stages.0.layers.3.attn.qkv.weight" in message
    assert "surprise" in message
    assert_same_state(model, before)
    with pytest.raises(ValueError, match="missing: 1"):
        ck.convert(model, state, "timm")

    report = ck.load(model, state, layout="timm", strict=False)
    assert not report.ok
    assert report.unexpected == ("surprise",)
    assert [entry.theirs for entry in report.missing] == [("blocks_token_only.0.attn.k.weight",)]
    assert [entry.found for entry in report.misshaped] == [((5, 8),)]
    after = model.state_dict()
    assert torch.equal(after["head.weight"], state["head.weight"])
    assert torch.equal(after["stages.0.layers.3.attn.qkv.weight"], before["stages.0.layers.3.attn.qkv.weight"])


def test_a_part_without_a_rule_is_missing() -> None:
    model = vit()
    model.stages[0].layers.append(PEG(8))
    with pytest.raises(ValueError, match=r"no key in this layout -> stages\.0\.layers\.5\.conv\.weight"):
        ck.load(model, ck.export(vit(), "timm"), layout="timm")
    with pytest.raises(ValueError, match="no key for"):
        ck.export(model, "timm")


def test_dtype_is_kept_and_the_checkpoint_is_not_shared() -> None:
    state = ck.export(vit().double(), "timm")
    model = vit()
    ck.load(model, state, layout="timm")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert {value.dtype for value in ck.convert(model, state, "timm").values()} == {torch.float32}
    assert torch.equal(model.state_dict()["head.weight"], state["head.weight"].float())
    with torch.no_grad():
        state["head.weight"].zero_()
        exported = ck.export(model, "timm")
        exported["norm.weight"].zero_()
    assert model.state_dict()["head.weight"].any()
    assert model.state_dict()["norm.weight"].any()


def test_unknown_layouts_models_and_values() -> None:
    with pytest.raises(ValueError, match="'official', 'timm', 'vit_pytorch' for ViT, got 'flax'"):
        ck.load(vit(), {}, layout="flax")
    with pytest.raises(ValueError, match="Linear"):
        ck.layouts(nn.Linear(1, 1))
    with pytest.raises(TypeError, match="'model'"):
        ck.load(vit(), {"model": {}}, layout="timm")


def test_a_subclass_uses_its_parents_key_maps() -> None:
    class Mine(ViT):
        pass

    model = Mine(image_size=8, patch_size=4, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=16)
    assert ck.load(model, ck.export(vit(), "timm"), layout="timm").ok


def test_a_class_of_ones_own_brings_its_key_maps() -> None:
    class Own(nn.Module):
        layouts: ClassVar[Mapping[str, ck.KeyMap]] = {
            "theirs": (ck.Rule(("k.{p}", "v.{p}"), "kv.{p}", ck.Concat(2)), ck.Rule("out.{p}", "proj.{p}"))
        }

        def __init__(self) -> None:
            super().__init__()
            self.kv, self.proj = nn.Linear(2, 6), nn.Linear(3, 2)

    class Wider(Own):
        layouts: ClassVar[Mapping[str, ck.KeyMap]] = {"mine": (ck.Rule("all.{p}", "{p}"),)}

    source, target = Own(), Own()
    state = ck.export(source, "theirs")
    assert set(state) == {f"{name}.{part}" for name in ("k", "v", "out") for part in ("weight", "bias")}
    assert ck.load(target, state, layout="theirs").ok
    assert_same_state(target, snapshot(source))
    assert set(ck.layouts(Wider())) == {"mine"}
    with pytest.raises(ValueError, match="'mine' for Wider, got 'theirs'"):
        ck.load(Wider(), state, layout="theirs")


def test_a_model_without_key_maps() -> None:
    class Plain(Model):
        pass

    with pytest.raises(ValueError, match=r"must be of a class that has key maps, got Plain"):
        ck.layouts(Plain(LinearEmbed(4, 8), [Stage([])], pool=MeanPool()))


# Resizing


@pytest.mark.parametrize(("layout", "pool"), [("timm", "cls"), ("timm", "mean"), ("vit_pytorch", "cls"), ("hf", "cls")])
def test_positions_are_resized_in_two_dimensions(layout: str, pool: str) -> None:
    how = {"timm": resize_table_as_timm}.get(layout, resize_table)
    source, target = vit(pool=pool, resize=how), vit(image_size=(16, 12), pool=pool)
    state = ck.export(source, layout)
    with pytest.raises(ValueError, match=r"misshaped: 1"):
        ck.load(target, state, layout=layout)
    with pytest.raises(ValueError, match=r"may be of 2x2 or 1x4 or 4x1 places: to resize it to 4x3, say grid=\(2, 2\)"):
        ck.load(target, state, layout=layout, resize=True)
    report = ck.load(target, state, layout=layout, resize=True, grid=2)
    assert report.ok
    assert report.resized == ((f"stages.0.layers.{int(pool == 'cls')}.table", (2, 2), (4, 3), False),)
    # What the smaller model makes of the larger image by itself.
    image = torch.randn(1, 3, 16, 12)
    torch.testing.assert_close(target.eval()(image), source.eval()(image))


@pytest.mark.parametrize("how", [resize_table, resize_table_as_dino])
def test_positions_are_resized_as_asked_for(how: Resize) -> None:
    source, target = vit(resize=how), vit(image_size=(4, 20))
    state = ck.export(source, "timm")
    ck.load(target, state, layout="timm", resize=how, grid=2)
    image = torch.randn(1, 3, 4, 20)
    torch.testing.assert_close(target.eval()(image), source.eval()(image))
    converted = ck.convert(target, state, "timm", resize=how, grid=2)
    assert all(torch.equal(converted[key], value) for key, value in target.state_dict().items())


@pytest.mark.parametrize(
    ("layout", "how"),
    [
        ("timm", resize_table_as_timm),
        ("hf", resize_table),
        ("official", resize_table_as_dino),
        ("vit_pytorch", resize_table_as_dino),
    ],
)
def test_a_layout_chooses_how_positions_are_resized_unless_it_has_no_way(layout: str, how: Resize) -> None:
    source, model = vit(resize=how), vit(image_size=(4, 20), resize=resize_table_as_dino)
    ck.load(model, ck.export(source, layout), layout=layout, resize=True, grid=2)
    image = torch.randn(1, 3, 4, 20)
    torch.testing.assert_close(model.eval()(image), source.eval()(image))


def test_relative_bias_is_resized_and_other_differences_are_not() -> None:
    table = [ck.Rule("t", "table")]
    small = RelativeBias(2, 3)
    rows = torch.arange(5.0)[:, None].expand(5, 5).reshape(25, 1).expand(25, 2)
    target = RelativeBias(2, (4, 3))
    report = ck.load(target, {"t": rows}, layout=table, resize=True, grid={"table": 3})
    assert report.resized == (("table", (3, 3), (4, 3), False),)
    places = target.table.detach().unflatten(0, (7, 5))
    assert (places.diff(dim=0) > 0).all()  # still rising with the row
    torch.testing.assert_close(places[:, 0], places[:, 4])  # and alike in every column
    assert ck.load(small, {"t": rows}, layout=table, resize=True).resized == ()
    for wrong in (torch.zeros(25, 3), torch.zeros(24, 2), torch.zeros(25, 2, 1), torch.zeros(0, 2)):
        with pytest.raises(ValueError, match=r"misshaped|may be of 2x2"):
            ck.load(target, {"t": wrong}, layout=table, resize=True)


# Files


def test_save_and_load_file(tmp_path: Path) -> None:
    source, target = twins(), twins()
    source.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = tmp_path / "weights.safetensors"
    ck.save(source, path)
    ck.save(source, str(path))  # over itself
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert ck.load_file(target, path).ok
    assert_same_state(target, snapshot(source))


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    model = vit()
    before = snapshot(model)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        ck.load_file(model, tmp_path / "absent.safetensors")
    with pytest.raises(FileNotFoundError, match="no folder"):
        ck.save(model, tmp_path / "nowhere" / "x.safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not weights at all")
    with pytest.raises(ValueError, match=r"x\.safetensors is not a whole safetensors file"):
        ck.load_file(model, path)
    ck.save(cait(), path)
    with pytest.raises(
        ValueError, match=r"x\.safetensors, ViT: .*\n  composition: 1\n.* a ViT here, a CaiT there\n  missing"
    ):
        ck.load_file(model, path)
    ck.save(vit(image_size=16), path)
    with pytest.raises(ValueError, match=r"is \(1, 17, 8\), must be \(1, 5, 8\)"):
        ck.load_file(model, path)
    assert_same_state(model, before)
    assert [entry.ours for entry in ck.load_file(model, path, resize=True).resized] == ["stages.0.layers.1.table"]
