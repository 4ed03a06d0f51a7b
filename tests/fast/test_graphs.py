"""fast.graphs where there is no GPU: it stands aside. What it does on one is in tests/test_cuda.py."""

from __future__ import annotations

import gc
import weakref

import torch
from torch import nn

from vitblocks import fast
from vitblocks.fast.extend import extend
from vitblocks.fast.graphs import _HELD, Graphed, Held


def test_it_stands_aside_without_a_gpu() -> None:
    model = nn.Linear(2, 2)
    report = fast.graphs(model)
    assert not report
    assert "on cpu" in str(report)
    assert type(model) is nn.Linear
    assert "nowhere" in str(fast.graphs(nn.GELU()))


def test_calls_that_cannot_be_recorded_are_what_they_were_and_undoing_lets_go() -> None:
    model, x = nn.Linear(2, 2).eval(), torch.randn(3, 2)
    expected = model(x)
    extend(model, Graphed)
    with torch.no_grad():
        assert torch.equal(model(x), expected)
        assert torch.equal(model(input=x), expected)
    held = _HELD[model] = Held(model)
    gone = weakref.ref(held)
    del held
    fast.undo(model)
    gc.collect()
    assert gone() is None
    assert type(model) is nn.Linear


def test_weights_that_moved_are_seen() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    held = Held(model)
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    model.load_state_dict({key: value.clone() for key, value in model.state_dict().items()})
    assert not held.moved
    model.double()
    assert held.moved
