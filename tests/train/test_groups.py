"""Parameters are grouped for an optimizer as timm groups those of its ViT, by what parts declare."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vitblocks import Swin, ViT, adopt, parameter_groups
from vitblocks.folding.declared import declared
from vitblocks.model import Model

from ..border import cases as cases  # which lets timm import torchvision
from ..zoo.tiny import TINY


def named(groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """The weight decay and the scale of the learning rate of each parameter."""
    return {name: (g["weight_decay"], round(g["lr_scale"], 12)) for g in groups for name in g["names"]}


def small() -> ViT:
    return ViT(image_size=8, patch_size=4, num_classes=3, dim=8, depth=2, heads=2, mlp_dim=8, layer_scale=0.1)


def test_depth_and_decay_by_hand() -> None:
    found = named(parameter_groups(small(), 0.1, layer_decay=0.5))
    assert found["embed.conv.weight"] == (0.1, 0.125)
    assert found["embed.conv.bias"] == (0.0, 0.125)
    assert found["stages.0.layers.0.token"] == found["stages.0.layers.1.table"] == (0.0, 0.125)
    assert found["stages.0.layers.3.attn.qkv.weight"] == (0.1, 0.25)
    assert found["stages.0.layers.4.attn.qkv.bias"] == found["stages.0.layers.4.shortcut1.scale.weight"] == (0.0, 0.5)
    assert found["norm.weight"] == (0.0, 0.5)
    assert found["head.weight"] == (0.1, 1.0)
    assert set(named(parameter_groups(small(), 0.1)).values()) == {(0.1, 1.0), (0.0, 1.0)}


@pytest.mark.parametrize("name", TINY)
def test_every_model_is_grouped_whole(name: str) -> None:
    """Each parameter once, depth from the image to the head, vectors and tables not decayed."""
    model = TINY[name].build()
    decay = 0.5 if isinstance(model, Model) else None
    groups = parameter_groups(model, 0.1, layer_decay=decay, lr=0.1)
    grouped = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in grouped}) == len(grouped) == len(list(model.parameters()))
    found = named(groups)
    for key, parameter in model.named_parameters():
        owner, _, own = key.rpartition(".")
        table = own in (declared(model.get_submodule(owner), "undecayed") or ())
        assert (found[key][0] == 0) == (parameter.dim() < 2 or table), key
    if decay is not None:
        blocks = [next(found[key][1] for key in found if key.startswith(f"{block}.")) for block, _ in model.blocks()]
        assert blocks == sorted({*blocks})
    torch.optim.AdamW(groups)


def test_what_stands_between_stages_belongs_to_the_block_after() -> None:
    model = Swin(num_classes=3, dim=8, depths=(1, 1), heads=(1, 2), window=2, patch_size=2)
    found = named(parameter_groups(model, 0.1, layer_decay=0.5))
    second = next(found[key] for key in found if key.startswith("stages.1.layers.0") and key.endswith("qkv.weight"))
    assert {value for key, value in found.items() if key.startswith("stages.1.transition") and value[0]} == {second}


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}, {"init_values": 0.1, "num_classes": 0}])
@pytest.mark.parametrize("layer_decay", [None, 0.75])
def test_groups_are_timms(options: dict[str, Any], layer_decay: float | None) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=3, num_heads=2, **{"num_classes": 5, **options}
    )
    model, _ = adopt(theirs)
    optim = pytest.importorskip("timm.optim")
    made = optim.param_groups_layer_decay if layer_decay else optim.param_groups_weight_decay
    scaled = {"layer_decay": layer_decay} if layer_decay else {}
    expected = made(theirs, weight_decay=0.1, no_weight_decay_list=theirs.no_weight_decay(), **scaled)

    def sets(groups: Any) -> set[tuple[float, float, int, int]]:
        return {
            (
                g["weight_decay"],
                round(g.get("lr_scale", 1.0), 12),
                len(g["params"]),
                sum(p.numel() for p in g["params"]),
            )
            for g in groups
            if g["params"]
        }

    assert sets(parameter_groups(model, 0.1, layer_decay=layer_decay)) == sets(expected)


def test_frozen_parameters_are_left_out() -> None:
    model = small()
    model.stages.requires_grad_(False)
    names = set(named(parameter_groups(model)))
    assert names == {"embed.conv.weight", "embed.conv.bias", "norm.weight", "norm.bias", "head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -1}, "weight_decay must be a finite number of at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"layer_decay": 0.0}, r"layer_decay must lie in \(0, 1\]"),
        ({"layer_decay": 1.5}, "layer_decay"),
        ({"lr": float("inf")}, "lr must be"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_groups(small(), **options)
    with pytest.raises(TypeError, match="layer_decay needs a"):
        parameter_groups(nn.Linear(2, 2), layer_decay=0.5)
    with pytest.raises(ValueError, match="Linear has none"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False))
