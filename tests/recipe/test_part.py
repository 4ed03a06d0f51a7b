"""Registering parts, and what instances note of the call that made them."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from vitblocks.recipe import describe
from vitblocks.registry import list_parts, part

from . import parts
from .parts import Tile, TinyChild, TinyLayer, TinyStack, wide_norm


def test_a_part_stays_what_it_is() -> None:
    assert list_parts()["TinyLayer"] is TinyLayer
    assert list_parts()["wide_norm"] is wide_norm
    assert list_parts()["Tile"] is Tile
    assert list(inspect.signature(TinyLayer).parameters) == ["dim", "norm", "activation", "tile", "dropout"]
    assert list(inspect.signature(TinyChild).parameters) == ["dim", "norm", "activation", "tile", "dropout"]
    assert TinyLayer.__doc__ == "A layer that makes its own modules."
    assert list(TinyLayer(4).state_dict()) == ["norm.weight", "norm.bias", "fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (lambda: TinyLayer(4), {"class": "TinyLayer", "args": {"dim": 4}}),
        (lambda: TinyLayer(dim=4, dropout=0.0), {"class": "TinyLayer", "args": {"dim": 4}}),
        (lambda: TinyChild(4, dropout=0.5), {"class": "TinyChild", "args": {"dim": 4, "dropout": 0.5}}),
        (lambda: parts.TinyWide(4), {"class": "TinyWide", "args": {"dim": 4}}),
    ],
)
def test_the_outermost_call_is_noted(module: Any, found: dict[str, Any]) -> None:
    assert describe(module()) == found


def test_the_note_survives() -> None:
    layer = TinyStack([TinyLayer(4, activation=nn.ReLU, tile=Tile(2)), nn.Linear(4, 4)], times=2)
    found = describe(layer)
    assert describe(copy.deepcopy(layer)) == found
    assert describe(copy.copy(layer)) == found
    assert describe(pickle.loads(pickle.dumps(layer))) == found
    assert describe(layer.to(torch.bfloat16).to("meta")) == found
    compiled: Any = torch.compile(layer, backend="eager")
    assert describe(layer) == found
    with pytest.raises(ValueError, match="compiled or parallel model"):
        describe(compiled)
    layer.compile(backend="eager")
    assert describe(layer) == found


def test_a_replaced_module_is_not_kept_alive() -> None:
    import gc
    import weakref

    layer = nn.Linear(4, 4)
    stack, gone = TinyStack([layer]), weakref.ref(layer)
    stack.layers[0] = nn.Identity()
    del layer
    gc.collect()
    assert gone() is None


def test_arguments_are_noted_as_they_were() -> None:
    layers: list[nn.Module] = [nn.Linear(4, 4)]
    stack = TinyStack(layers)
    layers.append(nn.ReLU())
    assert describe(stack)["args"] == {
        "layers": [{"class": "nn.Linear", "args": {"in_features": 4, "out_features": 4}}]
    }
    drawn = TinyStack(nn.ReLU() for _ in range(2))
    assert len(drawn.layers) == 2
    assert len(describe(drawn)["args"]["layers"]) == 2


def test_a_wrong_call_says_what_it_says_without() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'wrong'"):
        parts.TinyLayer(4, **{"wrong": 1})
    with pytest.raises(ValueError, match="dim must be positive, got 0"):
        TinyLayer(0)


def test_constructors_of_several_bases_are_all_called() -> None:
    class TinyA(nn.Module):
        pass

    class TinyB(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.fc = nn.Linear(dim, dim)

    class TinyBoth(part(TinyA), part(TinyB)):
        pass

    both = part(TinyBoth)(3)
    assert list(both.state_dict()) == ["fc.weight", "fc.bias"]
    assert describe(both) == {"class": "TinyBoth", "args": {"dim": 3}}


def test_names_that_clash() -> None:
    def again() -> type:
        class TinyAgain(nn.Module):
            pass

        return TinyAgain

    part(again())
    part(again())  # as a cell of a notebook that is run twice

    class TinyWide(nn.Module):
        pass

    with pytest.raises(ValueError, match=r"'TinyWide': tests\.recipe\.parts\.TinyWide and .*test_names_that_clash"):
        part(TinyWide)


def test_what_is_no_part() -> None:
    with pytest.raises(TypeError, match="class or a function, got 3"):
        part(3)
    with pytest.raises(TypeError, match="lambda or a function in a function"):
        part(lambda dim: nn.Identity())

    def local(dim: int) -> nn.Module:
        return nn.Identity()

    with pytest.raises(TypeError, match=r"local is a lambda or a function in a function"):
        part(local)


def test_a_model_made_before_its_class_was_registered() -> None:
    class TinyLate(nn.Module):
        pass

    early = TinyLate()
    part(TinyLate)
    with pytest.raises(ValueError, match="made before its class was registered"):
        describe(early)
    assert describe(TinyLate()) == {"class": "TinyLate", "args": {}}
