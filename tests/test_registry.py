"""Published variants: exact parameter counts, and multiply-adds as the references count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks import KernelAttend, SinePosition1d
from vitblocks.border import published
from vitblocks.registry import variants
from vitblocks.zoo.nest import SameMaxPool2d

from .counts import recorded

REFERENCE: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "variants.json").read_text())

FROZEN_TABLES: dict[str, dict[type[nn.Module], str]] = {
    # T2T-ViT's code keeps its sine positions and the performer's random features among the parameters, frozen.
    "T2T-ViT": {SinePosition1d: "table", KernelAttend: "features"},
}
"""Buffers of ours that a reference counts as parameters: the part that holds them, and their name."""


RECORDED = recorded()


def frozen_tables(model: nn.Module, architecture: str) -> list[torch.Tensor]:
    kinds = FROZEN_TABLES.get(architecture, {})
    return [getattr(part, kinds[type(part)]) for part in model.modules() if type(part) in kinds]


SAME_SIZES = {
    **{f"nest_{size}_jx": f"nest_{size}" for size in ("tiny", "small", "base")},
    **{f"jx_nest_{size}": f"nest_{size}" for size in ("tiny", "small", "base")},
    **{f"{name}x{name[-3:]}": name for name in vitblocks.list_models("cvt_*_???") if name[-3:] in ("224", "384")},
}
"""Variants that differ from another in what has no weights: activations, padding."""


WEIGHTS: dict[str, list[int]] = json.loads((Path(__file__).parent / "weights.json").read_text())
"""Published weights by the names of timm 1.0.31: parameters, and classes."""


def parameters(name: str, **options: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in vitblocks.create_model(name, **options).parameters())


def test_published_weights_have_as_many_parameters() -> None:
    """Counted at a depth of one and of two blocks, which are all alike."""
    trunks: dict[str, int] = {}
    found = {}
    for name, (_, classes) in WEIGHTS.items():
        row = published()[name]
        assert row.num_classes == classes
        options = variants()[row.variant].options
        if row.variant not in trunks:
            one, two = (parameters(row.variant, num_classes=0, depth=depth) for depth in (1, 2))
            trunks[row.variant] = one + (options["depth"] - 1) * (two - one)
        found[name] = trunks[row.variant] + classes * (options["dim"] + 1)
    assert found == {name: params for name, (params, _) in WEIGHTS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTS)
def test_published_weights_have_as_many_parameters_in_all_blocks(name: str) -> None:
    assert parameters(name) == WEIGHTS[name][0]


COUNTED = sorted(set(vitblocks.list_models()) - {published()[name].variant for name in WEIGHTS})


@pytest.mark.parametrize("name", COUNTED)
def test_counts_as_the_reference(name: str) -> None:
    reference = REFERENCE[SAME_SIZES.get(name, name)]
    with torch.device("meta"):
        model = vitblocks.create_model(name)
    counted = vitblocks.summary(model, reference["image_size"])
    tables = frozen_tables(model, reference["architecture"])
    assert counted.params == reference.get("params_trainable", reference["params"])
    assert counted.params + sum(table.numel() for table in tables) == reference["params"]
    assert counted.macs == pytest.approx(reference["macs"], rel=0.01)
    size, params, macs = RECORDED[name]
    assert (params, macs) == (counted.params, counted.macs) or size != list(counted.image[1:])


def test_every_size_is_counted_for_the_gallery() -> None:
    assert sorted(RECORDED) == vitblocks.list_models(), "run python -m tests.counts"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_the_gallery_says_what_models_are(name: str) -> None:
    size, params, macs = RECORDED[name]
    with torch.device("meta"):
        counted = vitblocks.summary(vitblocks.create_model(name), (size[0], size[1]))
    assert (counted.params, counted.macs) == (params, macs)


def test_lists_by_pattern() -> None:
    names = vitblocks.list_models("cait*")
    assert names == sorted(name for name in variants() if name.startswith("cait"))
    assert "cait_s24_224" in names
    assert vitblocks.list_models("no such model") == []


def test_overrides_and_features() -> None:
    with torch.device("meta"):
        model = vitblocks.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
    assert len(list(model.blocks())) == 2
    assert isinstance(model.head, nn.Identity)


@pytest.mark.parametrize(
    "name", ["cct_7_3x1_32", "cvt_13_224", "twins_svt_small", "regionvit_tiny_224", "levit_128s", "vit_7_4_32"]
)
def test_image_size_is_taken_in_every_family(name: str) -> None:
    with torch.device("meta"):
        model = vitblocks.create_model(name, image_size=(256, 192))
    assert model.image_size == (256, 192)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cct_7_3x1_32", 10),
        ("cct_7_3x1_32_c100", 100),
        ("cct_7_7x2_224", 102),
        ("cct_14_7x2_384", 1000),
        ("vit_2_4_32", 10),
    ],
)
def test_classes_are_those_that_were_published(name: str, classes: int) -> None:
    assert REFERENCE[name]["config"]["num_classes"] == classes
    with torch.device("meta"):
        head, other = vitblocks.create_model(name).head, vitblocks.create_model(name, 7).head
    assert isinstance(head, nn.Linear)
    assert isinstance(other, nn.Linear)
    assert (head.out_features, other.out_features) == (classes, 7)


@pytest.mark.parametrize(
    ("name", "activation", "approximate", "pool"),
    [
        ("nest_tiny", nn.GELU, "none", nn.MaxPool2d),
        ("nest_tiny_jx", nn.GELU, "none", SameMaxPool2d),
        ("jx_nest_tiny", nn.GELU, "tanh", SameMaxPool2d),
        ("cvt_13_224", nn.GELU, "none", None),
        ("cvt_13_224x224", vitblocks.QuickGELU, None, None),
    ],
)
def test_variants_of_one_paper_by_their_source(
    name: str, activation: type, approximate: str | None, pool: type | None
) -> None:
    with torch.device("meta"):
        model = vitblocks.create_model(name)
    acts = [module.act for module in model.modules() if isinstance(module, vitblocks.Mlp)]
    assert {type(act) for act in acts} == {activation}
    assert {getattr(act, "approximate", None) for act in acts} == {approximate}
    assert pool is None or any(isinstance(module, pool) for module in model.modules())


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("in_chans", "it is called channels here"),
        ("img_size", "it is called image_size here"),
        ("drop_path_rate", "it is called drop_path here"),
        ("global_pool", "it is called pool here"),
        ("drop_rate", "it is called dropout here"),
        ("embed_dim", "it is called dim here"),
        ("dim_head", "it is called head_dim here"),
        ("features_only", r"every model has feature_maps\(image\)"),
        ("depht", "did you mean depth"),
    ],
)
def test_keywords_of_other_libraries_name_ours(word: str, said: str) -> None:
    options: dict[str, Any] = {word: 1}
    with pytest.raises(TypeError, match=f"vit_tiny_patch16_224 takes no '{word}': {said}"):
        vitblocks.create_model("vit_tiny_patch16_224", **options)


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="cait_s24_224"):
        vitblocks.create_model("cait_s24_225")
    with pytest.raises(TypeError, match="colour"):
        vitblocks.create_model("cait_s24_224", colour="blue")
