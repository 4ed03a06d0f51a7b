"""fast.biases: what a compiler may not look into; the same numbers and gradients, and nothing of it in what is exported."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks import fast
from vitblocks.attention import GlobalAttention
from vitblocks.fast.bias import _copy, materialized
from vitblocks.position import RelativeBias


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = GlobalAttention(8, 2, position_bias=RelativeBias(2, (3, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x, (3, 4))


def names(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def test_it_is_nothing_outside_of_a_compiler() -> None:
    x = torch.randn(3)
    assert materialized(x) is x
    model, tokens = Attending(), torch.randn(2, 12, 8)
    expected = model(tokens)
    report = fast.biases(model)
    assert report.changed == {"attn.position_bias": "one operator to a compiler"}
    assert torch.equal(model(tokens), expected)
    assert isinstance(model.attn.position_bias, RelativeBias)


def test_the_way_back() -> None:
    model = Attending()
    report, second = fast.biases(model), fast.biases(model)
    assert second.left == {"attn.position_bias": "has it already"}
    for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other.attn.position_bias).__name__ == "OneOperatorRelativeBias"
        fast.undo(other)
        assert type(other.attn.position_bias) is RelativeBias
    fast.biases(model)
    report.undo()
    assert type(model.attn.position_bias) is RelativeBias


def test_models_without_any_are_told_apart() -> None:
    assert str(fast.biases(nn.Linear(2, 2))) == "biases stood aside: no module is called position_bias"


def test_other_devices() -> None:
    assert "on meta" in fast.biases(Attending().to("meta")).left["attn.position_bias"]


@torch.compile(backend="eager")
def taken_for_exporting(x: Tensor) -> Tensor:
    return x + 1 if torch.compiler.is_exporting() else x


def test_compiled_it_is_an_operator_with_the_same_gradients() -> None:
    model, x, seen = Attending(), torch.randn(2, 12, 8), []
    fast.biases(model)

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        seen.extend(names(graph.graph))
        return graph

    compiled = torch.compile(model, fullgraph=True, backend=backend)
    parameters = list(model.parameters())
    found, expected = (torch.autograd.grad(way(x).square().sum(), parameters) for way in (compiled, model))
    torch.testing.assert_close(found, expected)
    if taken_for_exporting(torch.zeros(1)):
        pytest.skip("this torch takes compiling for exporting, as 2.8 does: the bias is looked up in the softmax")
    assert sum("materialized" in name for name in seen) == 1


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_model_has_nothing_of_it(strict: bool) -> None:
    model = Attending()
    fast.biases(model)
    program = torch.export.export(model, (torch.randn(2, 12, 8),), strict=strict)
    assert not any("vitblocks" in name for name in names(program.graph))


def test_it_follows_the_rules_of_operators() -> None:
    for x in (torch.randn(2, 3, 4, requires_grad=True), torch.randn(3, 2, 4).transpose(0, 1)):
        torch.library.opcheck(_copy, (x,))
    batch = torch.randn(4, 2, 3)
    assert torch.equal(torch.vmap(_copy, in_dims=1)(batch), batch.transpose(0, 1))
