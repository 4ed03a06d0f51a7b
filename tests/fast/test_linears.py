"""fast.linears: oneDNN's product against nn.Linear, whichever of the two this machine prefers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from hypothesis import given, strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.flop_counter import FlopCounterMode

import vitblocks
from tests.fast.models import PlainViT, gradients
from tests.gradients import results
from vitblocks import fast
from vitblocks.fast import FastLinear, product

HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()


@pytest.fixture(autouse=True)
def onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """oneDNN's product, faster here or not."""
    if not HAS_ONEDNN:
        pytest.skip("this build of torch has no oneDNN")
    with monkeypatch.context() as patch:
        patch.setattr(product, "prefers_onednn", lambda: True)
        yield


def both(in_dim: int, out_dim: int, bias: bool) -> tuple[FastLinear, nn.Linear]:
    ours, plain = FastLinear(in_dim, out_dim, bias=bias), nn.Linear(in_dim, out_dim, bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
)
def test_the_same_function_and_gradients(lead: list[int], in_dim: int, out_dim: int, bias: bool, turned: bool) -> None:
    ours, plain = both(in_dim, out_dim, bias)
    x = torch.randn(in_dim, *lead).movedim(0, -1) if turned else torch.randn(*lead, in_dim)
    assert product.suits_onednn(x.dtype)
    for found, expected in zip(results(ours, x), results(plain, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_slices_of_wider_tensors() -> None:
    """What oneDNN has no kernel for is copied first."""
    wide, weights = torch.randn(5, 24), torch.randn(4, 24)
    x, weight = wide[:, 8:16].requires_grad_(), weights[:, 8:16].requires_grad_()
    found, expected = product.linear(x, weight, None), nn.functional.linear(x, weight)
    torch.testing.assert_close(found, expected)
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), (x, weight)) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    ours, _ = both(4, 3, True)
    ours.requires_grad_(False)
    x = torch.randn(2, 4, requires_grad=True)
    ours(x).sum().backward()
    assert x.grad is not None
    assert ours.weight.grad is None
    ours.bias.requires_grad_(True)
    ours(x.detach()).sum().backward()
    torch.testing.assert_close(ours.bias.grad, torch.full((3,), 2.0))


def test_double_precision_is_torchs() -> None:
    ours, plain = (layer.double() for layer in both(8, 4, True))
    x = torch.randn(2, 8, dtype=torch.float64)
    assert torch.equal(ours(x), plain(x))


@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16(bias: bool) -> None:
    ours, plain = (layer.bfloat16() for layer in both(8, 4, bias))
    x = torch.randn(2, 3, 8, dtype=torch.bfloat16)
    for found, expected in zip(results(ours, x), results(plain, x), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_wrong_width_or_dtype_is_told_by_torch() -> None:
    ours, _ = both(8, 4, True)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ours(torch.randn(2, 7))
    with pytest.raises(RuntimeError, match="dtype"):
        ours(torch.randn(2, 8, dtype=torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sparse_inputs_and_weights_are_torchs(dtype: torch.dtype) -> None:
    _, plain = both(8, 4, False)
    weight, x = plain.weight.detach().to(dtype), torch.randn(2, 8, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(product.linear(x.to_sparse(), weight, None), nn.functional.linear(x.to_sparse(), weight))
        assert torch.equal(product.linear(x, weight.to_sparse(), None), nn.functional.linear(x, weight.to_sparse()))


@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_of_every_layout_without_gradients(bias: bool) -> None:
    ours, plain = (layer.bfloat16() for layer in both(8, 4, bias))
    dense = torch.randn(2, 3, 8, dtype=torch.bfloat16)
    with torch.no_grad():
        for x in (
            dense,
            dense[:, 1:],
            dense[:, :, None].transpose(1, 2),
            dense.transpose(1, 2).contiguous().transpose(1, 2),
        ):
            torch.testing.assert_close(ours(x), plain(x), rtol=0.016, atol=1e-3)


def test_empty_and_flat_inputs_are_torchs() -> None:
    ours, plain = both(8, 4, True)
    assert ours(torch.randn(0, 8)).shape == (0, 4)
    x = torch.randn(8)
    assert torch.equal(ours(x), plain(x))


def test_the_public_switch_of_onednn_is_heeded() -> None:
    ours, _ = both(8, 4, True)
    with torch.backends.mkldnn.flags(enabled=False):
        assert not product.suits_onednn(torch.float32)
        assert not product.suits_onednn(torch.bfloat16)
        ours(torch.randn(2, 8))


def test_autocast_is_heeded() -> None:
    ours, plain = both(8, 4, True)
    x = torch.randn(2, 8)
    found = []
    for layer in (ours, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
            assert y.dtype == torch.bfloat16
            assert layer(y @ layer.weight).dtype == torch.bfloat16
        y.float().square().sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.dtype == torch.float32
        found.append([y.float(), layer.weight.grad, layer.bias.grad])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)
    with torch.autocast("cpu", torch.float16):
        assert ours(x).dtype == torch.float16


def test_transforms_of_torch_func() -> None:
    ours, plain = both(8, 4, True)
    x = torch.randn(5, 2, 8)
    torch.testing.assert_close(vmap(ours)(x), plain(x))

    def loss(weight: Tensor) -> Tensor:
        return functional_call(ours, {"weight": weight}, (x,)).square().sum()

    expected = torch.autograd.grad(plain(x).square().sum(), plain.weight)[0]
    torch.testing.assert_close(grad(loss)(ours.weight.detach()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trained", [True, False])
def test_forward_mode_gradients(trained: bool) -> None:
    ours, plain = (layer.requires_grad_(trained) for layer in both(8, 4, True))
    x, tangent = torch.randn(2, 3, 8).unbind()
    with forward_ad.dual_level():
        found, expected = (forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))) for layer in (ours, plain))
        torch.testing.assert_close(found.tangent, expected.tangent)
        with_weight = torch.nn.functional.linear(x, forward_ad.make_dual(plain.weight, torch.ones(4, 8)), plain.bias)
        own = product.linear(x, forward_ad.make_dual(ours.weight, torch.ones(4, 8)), ours.bias)
        torch.testing.assert_close(forward_ad.unpack_dual(own).tangent, forward_ad.unpack_dual(with_weight).tangent)


def test_what_is_exported_is_a_plain_linear() -> None:
    ours, _ = both(8, 4, True)
    graph = torch.export.export(ours, (torch.randn(2, 8),)).graph
    assert [str(n.target) for n in graph.nodes if n.op == "call_function"] == ["aten.linear.default"]


def test_traced_by_jit_it_is_a_plain_linear() -> None:
    ours, _ = both(8, 4, True)
    with torch.no_grad():
        traced = torch.jit.trace(ours, torch.randn(2, 8))
    assert "aten::linear" in str(traced.inlined_graph)


def test_operations_are_counted() -> None:
    ours, plain = both(8, 4, True)
    counts = []
    for layer in (ours, plain):
        with FlopCounterMode(display=False) as counter:
            layer(torch.randn(2, 3, 8)).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_graph(dynamic: bool) -> None:
    ours, plain = both(8, 4, True)
    compiled = torch.compile(ours, fullgraph=True, dynamic=dynamic)
    for batch in (2, 5):
        x = torch.randn(batch, 3, 8, requires_grad=True)
        found, expected = compiled(x), plain(x)
        torch.testing.assert_close(found, expected)
        sums = [
            torch.autograd.grad(y.square().sum(), (x, *m.parameters())) for y, m in ((found, ours), (expected, plain))
        ]
        for a, b in zip(*sums, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_compiled_transforms_and_the_switch() -> None:
    ours, plain = both(8, 4, True)
    x = torch.randn(5, 2, 8)
    torch.testing.assert_close(torch.compile(vmap(ours))(x), plain(x))
    weights = torch.randn(5, 4, 8)
    each = torch.compile(vmap(lambda x, weight: functional_call(ours, {"weight": weight}, (x,))))
    torch.testing.assert_close(each(x, weights), x @ weights.mT + plain.bias)
    with torch.backends.mkldnn.flags(enabled=False):
        torch.testing.assert_close(torch.compile(ours)(x), plain(x))


def test_the_compilers_operator_follows_the_rules_of_operators() -> None:
    x, weight, bias = torch.randn(2, 3, 8), torch.randn(4, 8), torch.randn(4)
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    torch.library.opcheck(torch.ops.vitblocks.fast_linear.default, (x, weight, bias))
    torch.library.opcheck(torch.ops.vitblocks.fast_linear.default, (x, weight, None))
    ones = torch.ones(1, 1).expand(6, 8)
    expected = nn.functional.linear(ones, weight)
    torch.testing.assert_close(torch.ops.vitblocks.fast_linear(ones, weight, None), expected)
    torch.testing.assert_close(torch.ops.vitblocks.fast_linear(weight, ones, None), expected.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exported_program(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3, bias=False)).to(dtype)
    x = torch.randn(2, 5, 4, dtype=dtype)
    program = torch.export.export(model, (x,)).module()
    assert isinstance(program, torch.fx.GraphModule)
    assert product.exchange_products(program) == (2 if dtype is torch.float32 else 0)
    torch.testing.assert_close(program(x), model(x))
    called = {node.target for node in program.graph.nodes}
    assert (torch.ops.aten.linear.default in called) == (dtype is torch.float64)


def test_autocast_leaves_double_precision_alone() -> None:
    ours, plain = (layer.double() for layer in both(8, 4, True))
    x = torch.randn(2, 8, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), plain(x))


def test_the_pass_changes_classes_and_nothing_else() -> None:
    model = PlainViT()
    plain, optimizer = copy.deepcopy(model), torch.optim.SGD(model.parameters(), lr=0.1)
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    report = fast.linears(model)
    assert list(report.changed) == names
    assert {type(model.get_submodule(name)) for name in names} == {FastLinear}
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    assert model.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 16, 16)
    for found, expected in zip(gradients(model, images), gradients(plain, images), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    report.undo()
    assert [type(m) for m in model.modules()] == [type(m) for m in plain.modules()]


def test_a_second_time_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    first, second = fast.linears(model), fast.linears(model)
    assert len(first) == 1
    assert len(second) == 0
    assert second.left == {"0": "has it already"}
    second.undo()
    assert type(model[0]) is FastLinear
    first.undo()
    first.undo()
    assert type(model[0]) is nn.Linear


def test_copies_and_pickles_keep_it() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    seen: list[object] = []
    model[0].register_forward_hook(lambda *_: seen.append(None))
    fast.linears(model)
    model(torch.zeros(1, 3))
    assert len(seen) == 1
    model[0]._forward_hooks.clear()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other[0]) is FastLinear
        assert torch.equal(other[0].weight, model[0].weight)
        assert other[0].weight is not model[0].weight


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_what_gains_nothing_is_left_and_the_report_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(Scaled(3, 3), nn.Linear(3, 3).double(), nn.Linear(3, 3, device="meta"), nn.Linear(3, 3))
    monkeypatch.setattr(product, "prefers_onednn", lambda: False)
    report = fast.linears(model)
    assert not report
    assert [type(module) for module in model] == [Scaled, nn.Linear, nn.Linear, nn.Linear]
    for name, why in zip("0123", ("Scaled may do more", "float64", "on meta", "is as fast here"), strict=True):
        assert why in report.left[name]
        assert why in str(report)


def test_under_autocast_the_bias_is_part_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    monkeypatch.setattr(product, "prefers_onednn", lambda: False)
    monkeypatch.setattr(product, "has_bfloat16", lambda: True)
    assert len(fast.linears(model, dtype=torch.bfloat16)) == 1
    monkeypatch.setattr(product, "has_bfloat16", lambda: False)
    assert "bfloat16" in fast.linears(nn.Sequential(nn.Linear(3, 3)), dtype=torch.bfloat16).left["0"]


def test_the_zoo_is_made_of_it_after_the_pass() -> None:
    model = vitblocks.ViT(image_size=16, patch_size=8, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=16)
    fast.linears(model)
    assert {type(module) for module in model.modules() if isinstance(module, nn.Linear)} == {FastLinear}


def test_a_transform_of_others_leaves_products_of_constants_alone() -> None:
    """A product that no transform holds, with weights that are trained, inside of one."""
    ours, plain = both(8, 4, True)
    x = torch.randn(2, 8)
    found, expected = (vmap(lambda y, m=m: y + m(x).sum())(torch.zeros(3)) for m in (ours, plain))
    torch.testing.assert_close(found, expected)


def test_a_measurement_decides_once() -> None:
    assert product.onednn_gain() == product.onednn_gain()
    assert product.onednn_gain() > 0
