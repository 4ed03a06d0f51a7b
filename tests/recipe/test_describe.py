"""Models as plain data and back: what was given, what was changed since, and what cannot be told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from vitblocks.recipe import build, describe

from .parts import Named, Tile, TinyChild, TinyLayer, TinyModel, TinyNorm, TinyOptions, TinyStack, TinyTaker, wide_norm


def same(model: nn.Module, x: torch.Tensor | None = None) -> nn.Module:
    """Check that the model is built again from its description, through JSON; returns the new one."""
    found = describe(model)
    text = json.dumps(found, allow_nan=False)
    again = build(json.loads(text))
    ours, theirs = model.state_dict(), again.state_dict()
    assert list(ours) == list(theirs)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert describe(again) == found
    if x is not None:
        again.load_state_dict(ours)
        assert torch.equal(model.eval()(x), again.eval()(x))
    return again


VALUES: list[Any] = [
    None,
    True,
    3,
    -2.5,
    math.inf,
    -math.inf,
    "a",
    [1, [2.0]],
    (1, ("b", None)),
    {"a": (1,), "b": {}},
    torch.bfloat16,
    nn.GELU,
    TinyNorm,
    Tile(2, (1, 0)),
    wide_norm,
]


@pytest.mark.parametrize("value", VALUES)
def test_values(value: Any) -> None:
    from vitblocks.recipe.part import part

    @part
    class TinyHolder(nn.Module):
        def __init__(self, value: Any) -> None:
            super().__init__()
            self.value = value

    again = same(TinyHolder(value))
    assert again.value == value
    assert type(again.value) is type(value)


def test_nan_and_partials() -> None:
    from vitblocks.recipe.part import part

    @part
    class TinyHeld(nn.Module):
        def __init__(self, value: Any) -> None:
            super().__init__()
            self.value = value

    again: Any = same(TinyHeld(math.nan))
    assert math.isnan(again.value)
    again = same(TinyHeld(partial(TinyLayer, 4, activation=partial(nn.GELU, approximate="tanh"))))
    made = again.value()
    assert made.fc.in_features == 4
    assert made.act.approximate == "tanh"


def test_names_that_descriptions_use_themselves() -> None:
    """As the keys of a dictionary, and as the arguments of a value."""
    from vitblocks.recipe import to_source

    names = ("class", "args", "name", "partial", "dict", "tuple", "child", "refused", "changed", "shared", "absent")
    entries = dict.fromkeys(names, "nobody")
    again: Any = same(TinyOptions({**entries, "inner": (entries, [entries])}, act=partial(Named, **entries)))
    assert again.options["inner"] == (entries, [entries])
    assert again.act.keywords == entries
    assert "'child': 'nobody'" in to_source(again, verify=False)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: TinyLayer(4),
    "arguments": lambda: TinyLayer(4, norm=partial(TinyNorm, eps=0.5), activation=nn.SiLU, tile=Tile(3), dropout=0.5),
    "a function": lambda: TinyLayer(4, norm=wide_norm),
    "a subclass": lambda: TinyChild(4, norm=nn.LayerNorm),
    "nested": lambda: TinyStack([TinyStack([TinyLayer(4)]), nn.Sequential(nn.Linear(4, 4), nn.ReLU())], times=2),
    "starred": lambda: TinyStack([], nn.Linear(4, 4, bias=False), TinyLayer(4), last=nn.Dropout(0.5)),
    "makes its own": lambda: TinyModel(4, 2, heads=(2, 1), scale=0.5),
    "torch": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, activation="gelu", batch_first=True), 2, norm=nn.LayerNorm(4)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(name: str) -> None:
    x = torch.randn(2, 3, 4)
    same(MODELS[name](), x)


TORCH: list[Callable[[], nn.Module]] = [
    lambda: nn.Linear(3, 4, bias=False),
    lambda: nn.Conv2d(4, 8, (3, 1), stride=2, padding=(1, 0), groups=2, bias=False, padding_mode="reflect"),
    lambda: nn.Conv2d(3, 4, 3, padding="same"),
    lambda: nn.ConvTranspose2d(3, 4, 2, stride=2, output_padding=1, bias=False),
    lambda: nn.BatchNorm2d(4, eps=1e-3, momentum=None, affine=False),
    lambda: nn.BatchNorm1d(4, track_running_stats=False),
    lambda: nn.InstanceNorm2d(4, affine=True),
    lambda: nn.LayerNorm((3, 4), eps=1e-6, bias=False),
    lambda: nn.LayerNorm(4, elementwise_affine=False),
    lambda: nn.RMSNorm(4),
    lambda: nn.GroupNorm(2, 4, affine=False),
    lambda: nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True, kdim=4, batch_first=True),
    lambda: nn.GELU("tanh"),
    lambda: nn.ELU(0.5),
    lambda: nn.PReLU(3),
    lambda: nn.Embedding(3, 4, padding_idx=1),
    lambda: nn.MaxPool2d(3, 2, 1),
    lambda: nn.AvgPool2d(2, ceil_mode=True),
    lambda: nn.AdaptiveAvgPool2d((1, None)),
    lambda: nn.Upsample(scale_factor=2.0, mode="bilinear"),
    lambda: nn.Unflatten(1, (2, 2)),
    lambda: nn.Unfold((3, 2), stride=2),
    lambda: nn.ZeroPad2d((1, 0, 1, 0)),
    lambda: nn.ModuleDict({"a": nn.ReLU(), "b": nn.ModuleList([nn.Tanh()])}),
    lambda: nn.Sequential(),
]


@pytest.mark.parametrize("make", TORCH, ids=lambda make: repr(make()).split("\n")[0])
def test_torch_modules(make: Callable[[], nn.Module]) -> None:
    assert repr(same(make())) == repr(make())


def test_every_listed_class_of_torch_tells_its_arguments() -> None:
    from vitblocks.recipe.torch_nn import CLASSES, CONTAINERS

    common: dict[str, Any] = {
        "dim": 1,
        "p": 0.1,
        "size": 3,
        "num_features": 2,
        "kernel_size": 2,
        "output_size": 2,
        "padding": 1,
    }
    common |= {"in_features": 2, "out_features": 3, "in_channels": 2, "out_channels": 4, "value": 1.0}
    common |= {"num_embeddings": 2, "embedding_dim": 3, "normalized_shape": 4, "num_groups": 1, "num_channels": 2}
    common |= {"in1_features": 2, "in2_features": 3, "upscale_factor": 2, "downscale_factor": 2, "scale_factor": 2.0}
    common |= {"unflattened_size": (1, 2), "embed_dim": 4, "num_heads": 2, "d_model": 4, "nhead": 2}
    layer = nn.TransformerEncoderLayer(4, 2, batch_first=True)
    import inspect

    for name, kind in CLASSES.items():
        if name in CONTAINERS:
            continue
        needed = [
            p.name
            for p in inspect.signature(kind).parameters.values()
            if p.default is p.empty and not p.name.startswith(("arg", "kwarg"))
        ]
        special: dict[str, Any] = {
            "nn.TransformerEncoder": {"encoder_layer": layer, "num_layers": 2},
            "nn.Upsample": {"size": 4},
        }
        same(kind(**(special.get(name) or {key: common[key] for key in needed})))


# What was changed since.


def test_given_modules_are_described_as_they_are_now() -> None:
    stack = TinyStack([TinyLayer(4), TinyLayer(4)])
    stack.layers[1] = nn.Linear(4, 4)
    assert describe(stack)["args"]["layers"][1]["class"] == "nn.Linear"
    assert "changed" not in describe(stack)
    same(stack, torch.randn(2, 4))


def test_modules_that_a_constructor_made() -> None:
    model = TinyModel(4, 3)
    model.layers[1].act = nn.ReLU()
    anything: Any = model
    anything.head = nn.Identity()
    anything.layers[2].dropout.p = 0.5
    found = describe(model)
    assert found["changed"] == {
        "layers.1.act": {"class": "nn.ReLU", "args": {}},
        "layers.2.dropout": {"class": "nn.Dropout", "args": {}},
        "head": {"class": "nn.Identity", "args": {}},
    }
    same(model, torch.randn(2, 4))


def test_a_change_in_a_change() -> None:
    model = TinyModel(4, 2)
    layer = TinyLayer(4, dropout=0.5)
    layer.act = TinyStack([nn.Linear(4, 4)])
    layer.act.layers[0] = TinyLayer(4, dropout=0.5)
    model.layers[0] = layer
    found = describe(model)["changed"]
    assert list(found) == ["layers.0"]
    assert list(found["layers.0"]["changed"]) == ["act"]
    same(model, torch.randn(2, 4))


def test_added_and_taken_away() -> None:
    model = TinyModel(4, 2)
    model.layers.append(TinyLayer(4))
    model.extra = nn.Linear(2, 2)
    same(model, torch.randn(2, 4))
    model = TinyModel(4, 3)
    del model.layers[0]
    assert describe(model)["changed"] == {"layers.2": {"absent": True}}
    same(model, torch.randn(2, 4))
    stack = TinyStack([TinyLayer(4), nn.Linear(4, 4)])
    del stack.layers[0]
    assert len(describe(stack)["args"]["layers"]) == 1
    same(stack, torch.randn(2, 4))
    stack.layers.insert(0, nn.ReLU())
    same(stack, torch.randn(2, 4))
    anything: Any = model
    anything.head = None
    anything = same(model)
    assert anything.head is None


def test_modules_that_are_shared_stay_shared() -> None:
    layer = TinyLayer(4)
    stack = TinyStack([layer, TinyStack([layer]), nn.Linear(4, 4)], last=layer)
    assert describe(stack)["shared"] == {"layers.1.layers.0": "layers.0", "last": "layers.0"}
    again: Any = same(stack, torch.randn(2, 4))
    assert again.layers[0] is again.layers[1].layers[0] is again.last
    model = TinyModel(4, 3)
    model.layers[2] = model.layers[0]
    again = same(model, torch.randn(2, 4))
    assert again.layers[2] is again.layers[0]
    assert again.layers[1] is not again.layers[0]


def test_parameters_that_are_shared_stay_shared() -> None:
    model = TinyModel(4, 2)
    first, second = (model.get_submodule(f"layers.{i}.fc") for i in range(2))
    second.weight = first.weight
    assert describe(model)["shared"] == {"layers.1.fc.weight": "layers.0.fc.weight"}
    again = same(model, torch.randn(2, 4))
    assert again.get_parameter("layers.1.fc.weight") is again.get_parameter("layers.0.fc.weight")


def test_what_a_constructor_shares_and_no_longer_is() -> None:
    from vitblocks.recipe.part import part

    @part
    class TinyTwice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = self.first
            self.third = nn.Linear(2, 2)
            self.third.weight = self.first.weight

    model = TinyTwice()
    assert "shared" not in describe(model)
    model.second = nn.Linear(2, 2)
    again: Any = same(model)
    assert again.second is not again.first
    model.third.weight = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"third\.weight cannot be described: it was made the same as first\.weight"):
        describe(model)


def test_a_module_whose_parts_were_taken() -> None:
    model = TinyModel(4, 2)
    model.layers[0].act = nn.ReLU()
    taker = TinyTaker(model)
    found = describe(taker)
    assert found["args"]["model"]["changed"] == {"layers.0.act": {"class": "nn.ReLU", "args": {}}}
    same(taker, torch.randn(2, 4))
    model.layers[1].act = nn.SiLU()
    assert describe(taker)["changed"] == {"layers.1.act": {"class": "nn.SiLU", "args": {}}}
    same(taker, torch.randn(2, 4))


def test_attributes_that_come_and_go() -> None:
    stack = TinyStack([TinyLayer(4)])
    found = describe(stack)
    stack(torch.randn(2, 4))
    assert stack.seen == 1
    assert describe(stack) == found


# What cannot be described.


class Stranger(nn.Linear):
    """No part."""


def tower() -> nn.Module:
    model = TinyModel(4, 2)
    model.layers[1].fc = Stranger(4, 4)
    return model


def heavier() -> nn.Module:
    model = TinyModel(4, 1)
    model.head.weight = nn.Parameter(torch.zeros(5, 4))
    return model


def parametrized() -> nn.Module:
    model = TinyModel(4, 1)
    weight_norm(model.head)
    return model


def patched() -> nn.Module:
    stack = TinyStack([TinyLayer(4)])
    stack.layers[0].forward = lambda x: x
    return stack


def itself() -> nn.Module:
    stack = TinyStack([TinyLayer(4)])
    stack.layers.append(stack)
    return stack


def set_by_hand(name: str, value: Any) -> nn.Module:
    model = TinyStack([TinyModel(4, 1)])
    setattr(model.layers[0], name, value)
    return model


def with_buffer() -> nn.Module:
    model = TinyModel(4, 1)
    model.register_buffer("more", torch.zeros(1))
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no part": (lambda: TinyStack([nn.Sequential(Stranger(1, 1))]), r"layers\.0\.0 \(Stranger\).*Stranger is no part"),
    "no part, put in since": (tower, r"layers\.1\.fc \(Stranger\) .*Stranger is no part"),
    "lambda": (lambda: TinyLayer(4, activation=lambda: nn.ReLU()), r"the model \(TinyLayer\).*activation is a lambda"),
    "lambda inside": (
        lambda: TinyStack([TinyStack([TinyLayer(4, norm=lambda dim: TinyNorm(dim))])]),
        r"layers\.0\.layers\.0 \(TinyLayer\).*norm is a lambda",
    ),
    "local function": (lambda: TinyLayer(4, activation=tower_of), r"activation is .*tower_of is no part"),
    "object": (
        lambda: TinyStack([], times=object()),
        r"a builtins\.object is no part",
    ),
    "another shape": (heavier, r"head \(Linear\).*its weight is \(5, 4\), its arguments make \(3, 4\)"),
    "parametrized": (parametrized, r"head \(ParametrizedLinear\).*is none"),
    "patched": (patched, r"layers\.0 \(TinyLayer\).*its forward was replaced on the instance"),
    "itself": (itself, r"holds itself"),
    "a number": (lambda: set_by_hand("scale", 2.0), r"layers\.0 \(TinyModel\).*scale was set to 2\.0.*make 1\.0"),
    "a pair": (lambda: set_by_hand("heads", [1, 2]), r"heads was set to \[1, 2\]"),
    "an object for a number": (lambda: set_by_hand("scale", object()), r"scale was set to <object"),
    "a buffer": (with_buffer, r"its buffers are not those that its arguments make: more"),
    "parallel": (lambda: nn.DataParallel(TinyLayer(4)), "describe the model inside"),
    "another class of torch": (lambda: TinyStack([nn.LSTM(2, 2)]), r"layers\.0 \(LSTM\).*none of the classes of torch"),
}


def tower_of() -> nn.Module:
    return nn.ReLU()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_described(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        describe(make())


def test_what_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got dict"):
        describe({})


def test_describing_leaves_everything_as_it_was() -> None:
    model = TinyModel(4, 2)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    describe(model)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
