"""Position tables of one grid loaded for another: whose grid is told, computed or refused, never guessed in silence."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.zoo.tiny import TINY
from vitblocks import (
    CCT,
    MAE,
    DistanceBias,
    PiT,
    RelativeBias,
    SinePosition1d,
    SinePosition2d,
    T2TViT,
    ViT,
    checkpoint as ck,
)
from vitblocks.checkpoint.tensor_file import read_tensors, write_tensors
from vitblocks.position.resize import resize_table, resize_table_as_dino

ALIKE = [ck.Rule("{p}", "{p}")]
TABLE = "stages.0.layers.1.table"


def vit(image_size: Any, **options: Any) -> ViT:
    sizes = {"patch_size": 4, "num_classes": 3, "dim": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
    return ViT(image_size=image_size, **{**sizes, **options}).eval()


def rewritten(path: Path, **about: str | None) -> None:
    """A file with other metadata."""
    tensors, old = read_tensors(path)
    write_tensors(path, tensors, {key: text for key, text in {**old, **about}.items() if text is not None})


# Our own files


@pytest.mark.parametrize("says", ["all", "grids alone", "recipe alone"])
@pytest.mark.parametrize(("old", "new"), [((32, 8), (64, 8)), ((32, 8), (16, 16)), ((16, 16), (32, 8)), ((8, 12), 16)])
def test_our_files_know_the_grid(says: str, old: Any, new: Any, tmp_path: Path) -> None:
    source, target, path = vit(old), vit(new), tmp_path / "x"
    ck.save(source, path)
    rewritten(path, **{"all": {}, "grids alone": {"recipe": None}, "recipe alone": {"grids": None}}[says])
    with pytest.raises(ValueError, match=rf"misshaped: 1\n    {TABLE}"):  # of as many places, too
        ck.load_file(target, path)
    assert [entry.ours for entry in ck.load_file(vit(new), path, strict=False).misshaped] == [(TABLE,)]
    report = ck.load_file(target, path, resize=True)
    assert report.resized == ((TABLE, source.stages[0].layers[1].grid, target.stages[0].layers[1].grid, False),)
    height, width = target.image_size or (0, 0)
    image = torch.randn(1, 3, height, width)
    torch.testing.assert_close(target(image), source(image))  # what the model makes of that size by itself


def test_our_files_know_the_grid_of_a_compiled_part(tmp_path: Path) -> None:
    models: list[Any] = [vit((32, 8)), vit((64, 8))]
    for model in models:
        model.stages[0].layers[1] = torch.compile(model.stages[0].layers[1])
        ck.save(model, tmp_path / f"{model.image_size}")
    for target in (models[1], vit((64, 8))):
        assert ck.load_file(target, tmp_path / "(32, 8)", resize=True).resized[0].found == (8, 2)


def test_resized_as_the_part_itself_does() -> None:
    source, target = vit(8), vit((12, 8))
    for model in (source, target):
        position: Any = model.get_submodule("stages.0.layers.1")
        position.resize = resize_table_as_dino
    ck.load(target, ck.export(source, "official"), layout="official", resize=True, grid=2)
    torch.testing.assert_close(target(torch.ones(1, 3, 12, 8)), source(torch.ones(1, 3, 12, 8)))


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", '{"x": 3}', '{"x": [1]}', '{"x": [1, 0]}', '{"x": [1, true]}', '{"x": [1.5, 2]}', "NaN"]
)
def test_grids_of_anybodys(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    ck.save(vit(8), path)
    rewritten(path, grids=text)
    with pytest.raises(ValueError, match=r"x\.safetensors, grids: "):
        ck.load_file(vit(8), path)
    rewritten(path, grids=json.dumps({TABLE: [3, 5]}))
    with pytest.raises(ValueError, match=r"x\.safetensors.*\n.*\n.*it is of 2x2 or 1x4 or 4x1 places, not of 3x5"):
        ck.load_file(vit(16), path, resize=True)


# Others' files


def test_a_table_of_a_square_number_of_places_for_a_square_is_taken_for_square_aloud() -> None:
    state = ck.export(vit(8), "official")
    with pytest.warns(
        UserWarning, match=r"taken for square \(stages\.0\.layers\.1\.table for \(2, 2\)\); say grid=\(2, 2\)"
    ) as said:
        report = ck.load(vit(16), state, layout="official", resize=True)
    assert report.resized == ((TABLE, (2, 2), (4, 4), True),)
    assert "2x2 (taken for a square) to 4x4" in str(report)
    assert said[0].filename == __file__
    with pytest.warns(UserWarning, match="taken for square") as said:
        ck.convert(vit(16), state, "official", resize=True)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ck.load(vit(16), state, layout="official", resize=True, grid=(2, 2)).ok
        assert ck.load(vit(8), state, layout="official", resize=True).resized == ()


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("old", "new"), [((8, 32), (16, 32)), (8, (8, 12)), ((8, 12), 8)])
def test_every_other_grid_has_to_be_told(old: Any, new: Any, strict: bool) -> None:
    source, target = vit(old), vit(new)
    state, before = ck.export(source, "official"), {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(ValueError, match=r"pos_embed: it may be of .* places.*say grid="):
        ck.load(target, state, layout="official", resize=True, strict=strict)
    for grid, said in (
        ((7, 7), "places, not of 7x7"),
        ({"head.bias": 7, TABLE: (7, 7)}, "places, not of 7x7"),
        ({"nowhere": 2}, "grid must name entries of the model, got 'nowhere'"),
        (
            {"head.bias": (7, 7), TABLE: source.stages[0].layers[1].grid},
            r"that of a table in the checkpoint, got \{\(7, 7\)\}",
        ),
        ("4", "grid"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            ck.load(target, state, layout="official", resize=True, strict=strict, grid=grid)
    with pytest.raises(ValueError, match="grid is for resize=True"):
        ck.load(target, state, layout="official", grid=2)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    grid = source.stages[0].layers[1].grid
    assert ck.load(target, state, layout="official", resize=True, strict=strict, grid=grid).ok
    height, width = target.image_size or (0, 0)
    image = torch.randn(1, 3, height, width)
    torch.testing.assert_close(target(image), source(image))


def test_as_many_places_on_another_grid_that_was_told() -> None:
    source, target = vit((32, 8)), vit(16)
    assert ck.load(vit(16), ck.export(source, "official"), layout="official", resize=True).resized == ()  # nobody knows
    assert ck.load(target, ck.export(source, "official"), layout="official", resize=True, grid=(8, 2)).resized[
        0
    ].found == (
        8,
        2,
    )
    torch.testing.assert_close(target(torch.ones(1, 3, 16, 16)), source(torch.ones(1, 3, 16, 16)))


def test_tables_that_show_their_grid_need_no_word() -> None:
    small, large = DistanceBias(2, (2, 3)), DistanceBias(2, (4, 5))
    nn.init.normal_(small.table)
    assert ck.load(large, small.state_dict(), layout=ALIKE, resize=True).resized == (("table", (2, 3), (4, 5), False),)
    torch.testing.assert_close(large((4, 5)), small((4, 5)))


def test_biases_of_several_windows_by_name() -> None:
    def biases(first: Any, second: Any) -> nn.ModuleDict:
        return nn.ModuleDict({"a": RelativeBias(2, first), "b": RelativeBias(2, second)})

    source, target = biases((2, 3), (4, 2)), biases((3, 3), (5, 5))
    told = {"a.table": (2, 3), "b.table": (4, 2)}
    assert [r.found for r in ck.load(target, source.state_dict(), layout=ALIKE, resize=True, grid=told).resized] == [
        (2, 3),
        (4, 2),
    ]
    torch.testing.assert_close(target["b"]((5, 5)), RelativeBias.forward(source["b"], (5, 5)))


# Tables by a formula


@pytest.mark.parametrize("kind", [SinePosition1d, SinePosition2d])
@pytest.mark.parametrize("resize", [True, False])
def test_fixed_tables_are_computed(kind: Any, resize: bool) -> None:
    for old, new in (((2, 3), (4, 4)), ((4, 4), (2, 8)), ((8, 2), (3, 3))):
        for dtype in (torch.float32, torch.bfloat16):
            source, target, fresh = (kind(8, grid, num_prefix=1).to(dtype) for grid in (old, new, new))
            report = ck.load(target, source.state_dict(), layout=ALIKE, resize=resize)
            assert report.ok
            assert torch.equal(target.table, fresh.table)
            assert report.resized == ()
            moved = kind is SinePosition2d or old[0] * old[1] != new[0] * new[1]
            assert report.recomputed == (("table",) if moved else ())


def test_a_table_that_is_not_the_formulas_is_not_thrown_away() -> None:
    source, target = SinePosition2d(8, 2), SinePosition2d(8, 3)
    source.table += 1
    with pytest.raises(ValueError, match="table is not what its formula gives -> table"):
        ck.load(target, source.state_dict(), layout=ALIKE, resize=True)
    same = SinePosition2d(8, 2)
    assert ck.load(same, source.state_dict(), layout=ALIKE).recomputed == ()
    assert torch.equal(same.table, source.table)


def models(size: int) -> dict[str, nn.Module]:
    return {
        "MAE": MAE(vit(size), decoder_dim=8, decoder_depth=1, decoder_heads=2),
        "CCT": CCT(
            img_size=2 * size, embedding_dim=8, num_layers=1, num_heads=2, mlp_ratio=1, positional_embedding="sine"
        ),
        "T2T": T2TViT(image_size=2 * size, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8, token_dim=8),
    }


@pytest.mark.parametrize("name", ["MAE", "CCT", "T2T"])
def test_models_of_fixed_tables_at_another_size(name: str, tmp_path: Path) -> None:
    source, target = models(16)[name], models(32)[name]
    ck.save(source, tmp_path / "x")
    report = ck.load_file(target, tmp_path / "x", resize=True)
    assert report.ok
    assert len(report.recomputed) == 1
    for layout in ck.layouts(source):
        told = {"grid": 4} if name == "MAE" else {}
        report = ck.load(models(32)[name], ck.export(source, layout), layout=layout, resize=True, **told)
        assert report.ok
        assert len(report.recomputed) == 1


def test_an_encoder_that_mae_trained_at_another_size() -> None:
    state = ck.export(models(16)["MAE"], "official")
    for entries in (
        state,
        {key: value for key, value in state.items() if "decoder" not in key and key != "mask_token"},
    ):
        report = ck.load(vit(32), entries, layout="official", strict=False, resize=True, grid=4)
        assert {key for entry in report.missing for key in entry.ours} == {"head.weight", "head.bias"}
        assert not report.misshaped


# Tables that lie otherwise in theirs


@pytest.mark.parametrize("layout", ["timm", "official"])
def test_a_map_of_positions_shows_its_grid(layout: str) -> None:
    def pit(size: Any) -> PiT:
        dims: dict[str, Any] = {"dim": 8, "depth": (1, 1), "heads": (2, 2), "mlp_dim": 16}
        return PiT(image_size=size, patch_size=4, num_classes=3, **dims).eval()

    source = pit((32, 8))
    for size in ((16, 16), (64, 8), (16, 8)):
        target = pit(size)
        with pytest.raises(ValueError, match=r"misshaped: 1\n    pos_embed is \(1, 8, \d+, \d+\), must be"):
            ck.load(target, ck.export(source, layout), layout=layout)
        report = ck.load(target, ck.export(source, layout), layout=layout, resize=resize_table)
        ((key, old),), ((_, new),) = ck.grids_of(source).items(), ck.grids_of(target).items()
        assert report.resized == ((key, old, new, False),)
        torch.testing.assert_close(target(torch.ones(1, 3, *size)), source(torch.ones(1, 3, *size)))


@pytest.mark.parametrize("layout", ["timm", "official"])
def test_a_flat_table_of_distances_may_be_of_several_grids(layout: str) -> None:
    source, target = (TINY["LeViT"].build(image_size=size) for size in (32, 64))
    with pytest.warns(UserWarning, match="taken for square"):
        assert ck.load(target, ck.export(source, layout), layout=layout, resize=True).resized
    other = TINY["LeViT"].build(image_size=(64, 32))
    with pytest.raises(ValueError, match=r"it may be of \d+x\d+ or .* places: to resize it"):
        ck.load(other, ck.export(source, layout), layout=layout, resize=True)
    assert ck.load(other, ck.export(source, layout), layout=layout, resize=True, grid=ck.grids_of(source)).resized
