"""fast.convolutions against nn.Conv2d."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tests.gradients import results
from vitblocks import fast
from vitblocks.fast import FastDepthwiseConv2d, convolution
from vitblocks.fast.convolution import _Strided


def both(channels: int, several: int, stride: int = 2, *, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    ours = FastDepthwiseConv2d(channels, several * channels, 3, stride, 1, groups=channels, bias=bias)
    plain = nn.Conv2d(channels, several * channels, 3, stride, 1, groups=channels, bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def require_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a.float() - b.float()).abs().max() <= tolerance * b.abs().max()


@settings(deadline=None)  # the first convolution of a process takes long
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(1, 7))
def test_the_same_function_and_gradients(
    channels: int, several: int, stride: int, bias: bool, channels_last: bool, height: int
) -> None:
    x = torch.randn(2, channels, height, 5, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    ours, plain = (layer.double() for layer in both(channels, several, stride, bias=bias))
    for found, expected in zip(results(ours, x), results(plain, x), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("several", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_rounding_and_dtypes(several: int, dtype: torch.dtype) -> None:
    ours, plain = both(4, several)
    x = torch.randn(2, 4, 9, 8)
    expected = results(plain, x)
    require_close(results(ours.to(dtype), x.to(dtype)), expected, 3e-2)
    with torch.autocast("cpu", dtype):
        automatic = results(ours.float(), x)
    assert [r.dtype for r in automatic] == [dtype, *[torch.float32] * (len(automatic) - 1)]
    require_close(automatic, expected, 3e-2)


def test_gradients_are_exact_in_bfloat16() -> None:
    """Computed in float32, they are what rounding makes of the exact ones."""
    ours, plain = (layer.bfloat16() for layer in both(4, 1, bias=False))
    x = torch.randn(2, 4, 9, 8).bfloat16().requires_grad_()
    y = ours(x)
    upstream = torch.randn_like(y)
    found = torch.autograd.grad(y, [x, ours.weight], upstream)
    exact = x.detach().double().requires_grad_()
    expected = torch.autograd.grad(plain.double()(exact), [exact, plain.weight], upstream.double())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.bfloat16())


def test_only_gradients_that_are_asked_for() -> None:
    ours, _ = both(4, 1)
    ours.bfloat16().weight.requires_grad_(False)
    x = torch.randn(2, 4, 8, 8, dtype=torch.bfloat16)
    ours(x).float().sum().backward()
    assert ours.weight.grad is None
    assert ours.bias is not None
    assert ours.bias.grad is not None
    with torch.no_grad():
        assert not ours(x).requires_grad


@pytest.mark.parametrize("several", [1, 2])
def test_transforms_of_torch_func(several: int) -> None:
    ours, plain = (layer.bfloat16() for layer in both(4, several))
    x = torch.randn(3, 1, 4, 8, 8, dtype=torch.bfloat16)

    def loss(layer: nn.Module, parameters: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(layer, parameters, (image,)).float().square().sum()

    found, expected = (
        vmap(grad(lambda p, image, layer=layer: loss(layer, p, image)), (None, 0))(dict(layer.named_parameters()), x)
        for layer in (ours, plain)
    )
    require_close(list(found.values()), list(expected.values()), 3e-2)


def test_forward_mode() -> None:
    ours, plain = (layer.bfloat16() for layer in both(4, 2))
    x, direction = torch.randn(2, 2, 4, 8, 8, dtype=torch.bfloat16)
    with forward_ad.dual_level():
        found, expected = (forward_ad.unpack_dual(m(forward_ad.make_dual(x, direction))).tangent for m in (ours, plain))
    require_close([found], [expected], 3e-2)


def test_compiles() -> None:
    ours, plain = (layer.bfloat16() for layer in both(4, 2))
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 4, 8, 8, dtype=torch.bfloat16)
    require_close(
        [compiled(x), *torch.autograd.grad(compiled(x).float().sum(), [ours.weight])],
        [plain(x), *torch.autograd.grad(plain(x).float().sum(), [plain.weight])],
        3e-2,
    )


def test_exports_as_one_convolution() -> None:
    ours, _ = both(4, 2)
    exported = torch.export.export(ours, (torch.zeros(2, 4, 8, 8),))
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.aten.conv2d.default]


def test_an_image_without_a_batch() -> None:
    ours, plain = both(4, 2)
    x = torch.randn(4, 8, 8)
    torch.testing.assert_close(ours(x), plain(x))


def test_a_wrong_dtype_is_told_by_torch() -> None:
    for layer in both(4, 1):
        with pytest.raises(RuntimeError):
            layer(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16))


def test_computes_strided_gradients_itself() -> None:
    ours, _ = both(4, 1)
    y = ours.bfloat16()(torch.randn(1, 4, 8, 8, dtype=torch.bfloat16))
    assert type(y.grad_fn).__name__ == f"{_Strided.__name__}Backward"


@pytest.fixture
def _gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where both ways are faster."""
    monkeypatch.setattr(convolution, "two_of_each_gain", lambda: 2.0)
    monkeypatch.setattr(convolution, "strided_gain", lambda dtype: 2.0)


def stem() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.Conv2d(4, 8, 3, 1, 1, groups=4),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.Conv2d(8, 16, 3, padding="same", groups=8),
        nn.Conv2d(16, 8, 1),
    )


@pytest.mark.usefixtures("_gains")
def test_the_pass_and_the_way_back() -> None:
    model, image = stem(), torch.randn(2, 3, 32, 32)
    expected = model(image)
    report = fast.convolutions(model)
    assert list(report.changed) == ["1"]
    assert report.left.keys() == {"2", "3", "4"}
    assert "padding 'same'" in str(report)
    torch.testing.assert_close(model(image), expected)
    assert fast.convolutions(model).left["1"] == "has it already"
    report.undo()
    assert {type(layer) for layer in model} == {nn.Conv2d}


@pytest.mark.usefixtures("_gains")
@pytest.mark.parametrize("autocast", [False, True])
def test_strided_ones_in_half_precision(autocast: bool) -> None:
    model = stem() if autocast else stem().bfloat16()
    report = fast.convolutions(model, dtype=torch.bfloat16 if autocast else None)
    assert list(report.changed) == ["1", "2"]
    assert type(copy.deepcopy(model)[2]) is FastDepthwiseConv2d
    assert type(pickle.loads(pickle.dumps(model))[2]) is FastDepthwiseConv2d


def test_a_machine_that_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "two_of_each_gain", lambda: 0.9)
    model = stem()
    report = fast.convolutions(model)
    assert not report
    assert "is as fast here (the other's rate is 0.90 of it" in report.left["1"]
    assert {type(layer) for layer in model} == {nn.Conv2d}


def test_measurements_are_of_ways_that_work() -> None:
    assert convolution.two_of_each_gain() > 0
    assert convolution.strided_gain(torch.bfloat16) > 0


def test_traced_by_jit_it_is_one_convolution() -> None:
    ours, plain = both(4, 2)
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        traced = torch.jit.trace(ours, x)
        torch.testing.assert_close(traced(x), plain(x))
    assert str(traced.inlined_graph).count("aten::_convolution(") == 1
