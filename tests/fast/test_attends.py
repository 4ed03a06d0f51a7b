"""fast.attends: plain products in place of the fused function, the same numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from tests.fast.models import PlainAttention, PlainViT
from vitblocks import fast
from vitblocks.attention import GlobalAttention, SoftmaxAttend
from vitblocks.fast import attention as fused
from vitblocks.fast.attention import attention
from vitblocks.position import RelativeBias


@pytest.fixture(autouse=True)
def gains(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where plain products are the faster way, whichever they are on this one."""
    with monkeypatch.context() as patch:
        patch.setattr(fused, "faster", lambda *, wide, training: True)
        yield


def qkv(n: int = 5, m: int = 7, e: int = 4, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(2, 3, *size, dtype=dtype) for size in ((n, 4), (m, 4), (m, e)))
    return q, k, v


def calls(function: torch.nn.Module, *args: Tensor) -> int:
    """How often the fused function is called."""
    with torch.profiler.profile() as profiled:
        function(*args)
    return sum(event.count for event in profiled.key_averages() if event.key == "aten::scaled_dot_product_attention")


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_formula(scale: float | None, masked: bool) -> None:
    q, k, v = qkv()
    mask = torch.randn(3, 5, 7).bfloat16() if masked else None
    found = attention(q, k, v, mask, scale=scale)
    doubles = [None if x is None else x.double() for x in (q, k, v, mask)]
    expected = F.scaled_dot_product_attention(*doubles[:3], attn_mask=doubles[3], scale=scale)
    torch.testing.assert_close(found.double(), expected, rtol=3e-2, atol=3e-2)


def test_a_query_without_any_key_gets_zeros_and_no_nan_of_a_gradient() -> None:
    q, k, v = (x.requires_grad_() for x in qkv())
    mask = torch.zeros(5, 7, dtype=torch.bfloat16)
    mask[1] = float("-inf")
    found = attention(q, k, v, mask)
    assert (found[:, :, 1] == 0).all()
    assert (F.scaled_dot_product_attention(q, k, v, mask)[:, :, 1] == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.float().square().sum(), (q, k, v)))


def test_what_it_is_not_faster_for_is_the_fused_function() -> None:
    q, k, v = qkv(dtype=torch.float32)
    assert torch.equal(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    allowed = torch.rand(5, 7) > 0.3
    q, k, v = qkv()
    assert torch.equal(attention(q, k, v, allowed), F.scaled_dot_product_attention(q, k, v, allowed))
    q, k, v = qkv(m=5)
    assert torch.equal(attention(q, k, v, is_causal=True), F.scaled_dot_product_attention(q, k, v, is_causal=True))
    q, k, v = qkv(n=2, m=fused.SHORT + 1)
    assert torch.equal(attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_dropout() -> None:
    q, k = torch.zeros(2, 64, 2, 16, 8, dtype=torch.bfloat16)
    values = attention(q, k, torch.eye(16, dtype=torch.bfloat16).expand(64, 2, 16, 16), dropout_p=0.25)
    assert 0.2 < (values == 0).double().mean() < 0.3
    torch.testing.assert_close(values[values != 0].unique(), torch.tensor([1 / 16 / 0.75]).bfloat16())


@pytest.mark.parametrize("bias", [False, True])
def test_the_same_attention_of_ours(bias: bool) -> None:
    position_bias = RelativeBias(2, (3, 4)) if bias else None
    model = GlobalAttention(8, 2, position_bias=position_bias).bfloat16()
    x, grid = torch.randn(2, 12, 8).bfloat16(), (3, 4)
    expected = model(x, grid)
    report = fast.attends(model)
    assert list(report.changed) == ["attend"]
    torch.testing.assert_close(model(x, grid), expected, rtol=2e-2, atol=2e-2)
    assert isinstance(model.attend, SoftmaxAttend)
    report.undo()
    assert type(model.attend) is SoftmaxAttend


def test_any_module_that_calls_the_fused_function() -> None:
    model, x = PlainAttention(8, 2).bfloat16(), torch.randn(2, 5, 8).bfloat16()
    expected = model(x)
    assert calls(model, x) == 1
    report = fast.attends(model)
    assert list(report.changed) == [""]
    assert "the model itself: plain products" in str(report)
    assert calls(model, x) == 0
    torch.testing.assert_close(model(x), expected, rtol=2e-2, atol=2e-2)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert calls(other, x) == 0
    report.undo()
    assert calls(model, x) == 1
    assert type(model) is PlainAttention


def test_a_second_time_changes_nothing() -> None:
    model = PlainViT().bfloat16()
    first, second = fast.attends(model), fast.attends(model)
    assert list(first.changed) == ["blocks.0.attn", "blocks.1.attn"]
    assert set(second.left.values()) == {"has it already"}
    second.undo()
    assert fast.plain_type(type(model.blocks[0].attn)) is PlainAttention is not type(model.blocks[0].attn)


def test_float32_is_left_unless_autocast_is_said() -> None:
    model = PlainViT()
    report = fast.attends(model)
    assert not report
    assert report.left["blocks.0.attn"] == "the fused function is the one in float32"
    assert len(fast.attends(model, dtype=torch.bfloat16)) == 2


def test_wide_values_in_float32() -> None:
    model, x = GlobalAttention(8, 2, value_dim=9), torch.randn(2, 12, 8)
    expected = model(x, (3, 4))
    assert list(fast.attends(model).changed) == ["attend"]
    torch.testing.assert_close(model(x, (3, 4)), expected)


def test_a_machine_that_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "faster", lambda *, wide, training: False)
    model = PlainViT().bfloat16()
    report = fast.attends(model)
    assert not report
    assert "plain products are not faster here" in report.left["blocks.0.attn"]
    assert type(model.blocks[0].attn) is PlainAttention


def test_measurements_are_of_ways_that_work() -> None:
    for wide in (False, True):
        for training in (False, True):
            assert fused.attention_gain(wide, training) > 0


def test_no_module_on_another_device() -> None:
    report = fast.attends(PlainAttention(8, 2).to("meta", torch.bfloat16))
    assert report.left[""] == "on meta, where the fused function is the one"


def test_transforms_of_torch_func() -> None:
    model, x = PlainAttention(8, 2).bfloat16(), torch.randn(3, 2, 5, 8).bfloat16()
    expected = vmap(model)(x)
    fast.attends(model)
    torch.testing.assert_close(vmap(model)(x), expected, rtol=2e-2, atol=2e-2)


def names(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_exported_is_the_fused_function(strict: bool) -> None:
    model, x = PlainAttention(8, 2).bfloat16(), torch.randn(2, 5, 8).bfloat16()
    fast.attends(model)
    found = names(torch.export.export(model, (x,), strict=strict).graph)
    assert "aten.scaled_dot_product_attention.default" in found
    assert "aten.softmax.int" not in found


def test_traced_by_jit_it_is_the_fused_function() -> None:
    model, x = PlainAttention(8, 2).bfloat16(), torch.randn(2, 5, 8).bfloat16()
    fast.attends(model)
    assert "aten::scaled_dot_product_attention" in str(torch.jit.trace(model.eval(), x).inlined_graph)


@pytest.mark.parametrize("make", [lambda: PlainAttention(8, 2), lambda: nn.Sequential(PlainAttention(8, 2))])
def test_compiled_in_one_graph(make: type[nn.Module]) -> None:
    model, x = make().bfloat16(), torch.randn(2, 5, 8).bfloat16()
    expected = model(x)
    fast.attends(model)
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        seen.extend(names(graph.graph))
        return graph

    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend=backend)(x), expected, rtol=2e-2, atol=2e-2)
    assert not any("scaled_dot_product_attention" in name for name in seen)
