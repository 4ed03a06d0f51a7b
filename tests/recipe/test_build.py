"""Descriptions that nobody would write who meant well: each is a ValueError that names the place, and takes no memory."""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.recipe import Limits, build, describe

from .parts import TinyLayer, TinyModel, TinyStack, wide_norm

LAYER = {"class": "TinyLayer", "args": {"dim": 4}}


def stack(*layers: Any, **rest: Any) -> dict[str, Any]:
    return {"class": "TinyStack", "args": {"layers": list(layers)}, **rest}


def layer(**args: Any) -> dict[str, Any]:
    return {"class": "TinyLayer", "args": {"dim": 4, **args}}


def nested(depth: int) -> dict[str, Any]:
    found = LAYER
    for _ in range(depth):
        found = stack(found)
    return found


def cyclic() -> dict[str, Any]:
    found = stack()
    found["args"]["layers"].append(found)
    return found


HOSTILE: dict[str, tuple[Any, str]] = {
    # What is no description.
    "a list": ([], "a description is a dictionary, got a list"),
    "empty": ({}, "the model: must have one of the keys"),
    "nothing known": ({"import": "os"}, "must have one of the keys .* got 'import'"),
    "two keys": ({"class": "TinyLayer", "name": "TinyLayer"}, "must have one of the keys"),
    "another key": ({"class": "TinyLayer", "args": {"dim": 4}, "call": "x"}, "must have one of the keys"),
    "a class": ({"name": "TinyLayer"}, "of a model is wanted, this one is of a type"),
    "a value": ({"class": "Tile", "args": {"size": 1}}, "of a model is wanted, this one is of a Tile"),
    "an object": ({"class": object(), "args": {}}, "class: a object is no plain data"),
    "a key of another kind": ({"class": "TinyLayer", "args": {3: 4}}, "args: the key 3 is no string"),
    # Names.
    "a module's path": ({"class": "os.system", "args": {}}, "'os.system' is no registered part"),
    "a path of torch": ({"class": "torch.nn.Linear", "args": {}}, "'torch.nn.Linear' is no registered part"),
    "not listed": ({"class": "nn.Module", "args": {}}, "'nn.Module' is no registered part"),
    "an attribute": ({"class": "nn.Linear.__init__", "args": {}}, "is no registered part"),
    "dunder": ({"class": "__class__"}, "is no registered part"),
    "no string": ({"class": 3}, "3 is no registered part"),
    "a list for a name": ({"class": ["TinyLayer"]}, "is no registered part"),
    "a function as a class": ({"class": "wide_norm", "args": {"dim": 4}}, "wide_norm is a function, not a class"),
    "unknown within": (stack(LAYER, {"class": "Nobody"}), r"layers\[1\]: 'Nobody' is no registered part"),
    # Arguments.
    "no argument": (layer(width=3), r"the model \(TinyLayer\): takes no argument 'width', only dim, norm"),
    "missing": ({"class": "TinyLayer", "args": {}}, "missing 1 required positional argument: 'dim'"),
    "self": (layer(self=3), "takes no argument 'self'"),
    "args no dictionary": ({"class": "TinyLayer", "args": [4]}, "'args' must hold a dictionary"),
    "a string for an int": (layer(dim="4"), "dim must be int, got '4'"),
    "a bool for an int": (layer(dim=True), "dim must be int, got True"),
    "a float for an int": (layer(dim=4.0), r"dim must be int, got 4\.0"),
    "a list for an int": (layer(dim=[4]), r"dim must be int, got \[4\]"),
    "a string for a float": (layer(dropout="0.5"), "dropout must be float"),
    "a module for a factory": (layer(norm=4), "norm must be .*Callable"),
    "a module for a value": (layer(tile={"class": "nn.ReLU"}), r"tile must be .*Tile"),
    "a value for a module": (stack(3), r"layers must be .*Sequence.*got \[3\]"),
    "an int for layers": ({"class": "TinyStack", "args": {"layers": 3}}, "layers must be"),
    "a wrong pair": (
        {"class": "TinyModel", "args": {"dim": 4, "depth": 1, "heads": {"tuple": [1]}}},
        r"heads must be tuple\[int, int\], got \(1,\)",
    ),
    "no value the class takes": (layer(dim=0), r"the model \(TinyLayer\): dim must be positive, got 0"),
    "not many": ({"class": "TinyLayer", "args": {"*layers": [], "dim": 4}}, r"takes no argument '\*layers'"),
    "what torch does not take": ({"class": "nn.Conv2d", "args": {"in_channels": 3}}, r"the model \(nn\.Conv2d\)"),
    "what torch refuses": (
        {"class": "nn.Conv2d", "args": {"in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2}},
        r"in_channels must be divisible by groups",
    ),
    "a device": (
        {"class": "nn.Linear", "args": {"in_features": 1, "out_features": 1, "device": {}}},
        "one of the keys",
    ),
    "a factory that fails": (layer(norm={"partial": "nn.Conv2d", "args": {"groups": 0}}), r"the model \(TinyLayer\)"),
    "a partial's argument": (layer(norm={"partial": "nn.LayerNorm", "args": {"x": 1}}), "takes no argument 'x'"),
    "a partial's value": (layer(norm={"partial": "TinyNorm", "args": {"eps": "1"}}), "eps must be float, got '1'"),
    "a partial of a container": (layer(norm={"partial": "nn.Sequential", "args": {}}), "no partial can be made"),
    "a factory of something else": (layer(activation={"name": "Tile"}), r"the model \(TinyLayer\)"),
    "a dtype": (layer(dropout={"dtype": "Tensor"}), "there is no dtype 'Tensor'"),
    "a dtype's path": (layer(dropout={"dtype": "nn.Linear"}), "there is no dtype"),
    "a float": (layer(dropout={"float": "1e5"}), "is no float that is known here"),
    "a tuple": (layer(dropout={"tuple": 3}), "'tuple' must hold a list"),
    # Containers.
    "no modules": ({"class": "nn.Sequential", "args": {"0": 3}}, r"0: a module is wanted, got a int"),
    "names with dots": ({"class": "nn.Sequential", "args": {"a.b": LAYER}}, r"name can.*t contain"),
    "a method's name": ({"class": "nn.Sequential", "args": {"forward": LAYER}}, r"'forward' already exists"),
    # Changes.
    "nowhere": ({**LAYER, "changed": {"a.b": LAYER}}, r"changed\[a\.b\]: there is no module 'a'"),
    "a method": ({**LAYER, "changed": {"forward": {"class": "nn.ReLU"}}}, "a TinyLayer holds no module there"),
    "an attribute that is no module": ({**LAYER, "changed": {"training": LAYER}}, "holds no module there"),
    "torch's own": ({**LAYER, "changed": {"_modules": LAYER}}, "holds no module there"),
    "dunder attribute": ({**LAYER, "changed": {"__class__": LAYER}}, "holds no module there"),
    "a dunder of a child": ({**LAYER, "changed": {"fc.__dict__": LAYER}}, "holds no module there"),
    "the root": ({**LAYER, "changed": {"": LAYER}}, "holds no module there"),
    "a value for a change": ({**LAYER, "changed": {"fc": 3}}, "a module is wanted, got a int"),
    "taken away": ({**LAYER, "changed": {"nothing": {"absent": True}}}, "nothing to take away"),
    "changed within": (stack({**LAYER, "changed": {"fc": {"class": "no"}}}), r"layers\[0\]\.changed\[fc\]: 'no' is no"),
    # Sharing.
    "not the same": ({**LAYER, "shared": {"fc": "norm.weight"}}, "cannot be the same"),
    "not a path": ({**LAYER, "shared": {"fc": 3}}, "3 is no path"),
    "other shapes": ({**LAYER, "shared": {"fc.weight": "fc.bias"}}, "cannot be the same"),
    "a method shared": ({**LAYER, "shared": {"forward": "fc"}}, "cannot be the same"),
    "itself": (stack(stack(LAYER), shared={"layers.0.layers.0": "layers.0"}), "holds itself"),
    "round about": (
        stack(stack(), stack(), shared={"layers.0.x": "layers.1", "layers.1.x": "layers.0"}),
        "holds itself",
    ),
    # Too much.
    "an enormous width": (
        {"class": "TinyLayer", "args": {"dim": 10**9}},
        r"args\.dim: 1000000000 is more than 1,000,000",
    ),
    "a long number": ({"class": "TinyLayer", "args": {"dim": -(10**5000)}}, "more than 20 digits is more than"),
    "a wide width": ({"class": "TinyLayer", "args": {"dim": 10**6}}, "more than 2,147,483,648 elements"),
    "many of them": ({"class": "TinyModel", "args": {"dim": 40000, "depth": 40}}, "more than 2,147,483,648 elements"),
    "deep": ({"class": "TinyModel", "args": {"dim": 2, "depth": 10**6}}, "more than 20,000 modules"),
    "nested": (nested(100), "nested deeper than 64 values"),
    "a cycle": (cyclic(), "nested deeper than 64 values"),
    "a lot": (stack(*[LAYER] * 100_000), "more than 200,000 values"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    description, message = HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        build(description)
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_shared_modules_do_not_multiply() -> None:
    """Each level holds the one below twice: a few lines would be more modules than there is memory."""
    found: dict[str, Any] = stack()
    for _ in range(15):
        found = stack(found, shared={"layers.1": "layers.0"})
    with pytest.raises(ValueError, match=r"more than 20,000 modules"):
        build(found)


def test_limits_can_be_raised() -> None:
    deep = nested(30)
    with pytest.raises(ValueError, match="nested deeper"):
        build(deep)
    assert isinstance(build(deep, limits=Limits(depth=200)), TinyStack)
    with pytest.raises(ValueError, match="more than 10 elements"):
        build(LAYER, limits=Limits(elements=10))
    with pytest.raises(ValueError, match="more than 2 modules"):
        build(LAYER, limits=Limits(modules=2))


def test_models_made_at_the_same_time_are_not_counted() -> None:
    """A limit is one of what is built from a description, in its own thread."""
    from threading import Thread

    from vitblocks.recipe.limits import counting

    errors: list[Exception] = []

    def make() -> None:
        try:
            TinyModel(8, 20)
        except Exception as error:
            errors.append(error)

    with counting(Limits(modules=1, elements=1)):
        thread = Thread(target=make)
        thread.start()
        thread.join()
    assert not errors
    TinyModel(8, 20)


def test_nothing_is_imported() -> None:
    modules = set(sys.modules)
    for name in ("this", "antigravity", "vitblocks.demo.cli", "xml.sax.Nobody"):
        with pytest.raises(ValueError, match="no registered part"):
            build({"class": name, "args": {}})
    assert set(sys.modules) == modules


def test_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = build({"class": "TinyModel", "args": {"dim": 8, "depth": 2}})
    assert all(p.is_meta for p in model.parameters())


def test_what_needs_real_tensors_to_be_built_says_so() -> None:
    from vitblocks.recipe.part import part

    @part
    class TinyDrawn(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.rates = [x.item() for x in torch.linspace(0, 0.5, depth)]

    with pytest.raises(ValueError, match=r"the model \(TinyDrawn\).*meta"):
        describe(TinyDrawn(2))


def test_fresh_weights_are_drawn_as_the_constructor_does() -> None:
    model = TinyModel(4, 2)
    found = json.loads(json.dumps(describe(model)))
    torch.manual_seed(3)
    first = build(found).state_dict()
    torch.manual_seed(3)
    second = TinyModel(4, 2).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_function_is_given_and_not_called() -> None:
    made: Any = build({"class": "TinyLayer", "args": {"dim": 4, "norm": {"name": "wide_norm"}}})
    assert isinstance(made, TinyLayer)
    assert made.norm.eps == wide_norm(4).eps
