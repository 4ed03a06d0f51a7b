"""Every registered part, every zoo variant and every objective is built again from its description."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import vitblocks
from vitblocks import describe, list_parts
from vitblocks.recipe import Limits, build
from vitblocks.registry import variants

from .examples import MODELS, instances

OURS = {name: value for name, value in list_parts().items() if value.__module__.startswith("vitblocks.")}
MODULES = [name for name, value in OURS.items() if isinstance(value, type) and issubclass(value, nn.Module)]
DEFAULTS = {"num_prefix"}  # functions that are the default of the arguments they are for: they go without saying
OTHERS = [name for name in OURS if name not in {*MODULES, *DEFAULTS}]


def again(module: nn.Module) -> nn.Module:
    """The module built from its description, checked to have the same state and description."""
    found = json.loads(json.dumps(describe(module), allow_nan=False))
    made = build(found)
    assert type(made) is type(module)
    ours, theirs = module.state_dict(), made.state_dict()
    assert list(ours) == list(theirs)
    assert {k: (v.shape, v.dtype) for k, v in ours.items()} == {k: (v.shape, v.dtype) for k, v in theirs.items()}
    assert describe(made) == found
    assert [type(m) for m in made.modules()] == [type(m) for m in module.modules()]
    return made


@pytest.mark.parametrize("name", MODULES)
def test_every_part(name: str) -> None:
    """A part that is added needs an instance in tests/recipe/examples.py, or in the tables that it reads."""
    assert name in instances(), f"no example holds a {name}"
    for module in instances()[name]:
        again(module)


@cache
def described() -> str:
    return "".join(json.dumps(describe(module)) for modules in instances().values() for module in modules)


@pytest.mark.parametrize("name", OTHERS)
def test_every_value_and_function(name: str) -> None:
    """They are described within modules that were given them."""
    assert re.search(rf'"(class|name|partial)": "{name}"', described()), f"no example is given {name}"


def outputs(model: Any, size: tuple[int, int]) -> Any:
    """What a model gives for the images of a seed, from the same random state."""
    torch.manual_seed(0)
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        if isinstance(model, vitblocks.DistillWrapper):
            return model(images, torch.zeros(2, dtype=torch.long))
        return model([images, images, images[..., :16, :16]] if isinstance(model, vitblocks.Dino) else images)


@pytest.mark.parametrize("name", MODELS)
def test_models_give_the_same(name: str) -> None:
    model: Any = MODELS[name]()
    made = again(model)
    made.load_state_dict(model.state_dict())
    objective = isinstance(
        model, (vitblocks.MAE, vitblocks.MPP, vitblocks.SimMIM, vitblocks.Dino, vitblocks.DistillWrapper)
    )
    size = (32, 32) if objective else model.image_size or (64, 64)
    assert torch.equal(outputs(model.eval(), size), outputs(made.eval(), size))


def test_every_variant() -> None:
    """Of published sizes, without memory: the same composition, named only by a class and its arguments, with the same state.

    Of variants of the same class that name the same options, one is tried.
    """
    kinds: dict[tuple[object, ...], str] = {}
    for name, variant in variants().items():
        kinds.setdefault((variant.build, *sorted(variant.options)), name)
    with torch.device("meta"):
        for name in kinds.values():
            model = vitblocks.create_model(name)
            found = json.loads(json.dumps(describe(model), allow_nan=False))
            assert found.keys() == {"class", "args"}, name
            ours, theirs = (
                model.state_dict(),
                build(found, limits=Limits(elements=2**33)).state_dict(),
            )  # EVA-02-E has 4.4e9
            assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()], name
