"""DepthwiseConv2d against nn.Conv2d."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from tests.gradients import results
from vitblocks.depthwise import DepthwiseConv2d, _Strided
from vitblocks.faster import with_torch_types


def both(channels: int, several: int, stride: int = 2, *, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    ours = DepthwiseConv2d(channels, several * channels, 3, stride, 1, bias=bias)
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


def test_refuses_what_nn_conv2d_refuses() -> None:
    with pytest.raises(ValueError, match="divisible"):
        DepthwiseConv2d(4, 6, 3)
    ours, plain = both(4, 1)
    for layer in (ours, plain):
        with pytest.raises(RuntimeError):
            layer(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16))


def test_as_torchs_own() -> None:
    model = nn.Sequential(DepthwiseConv2d(4, 8, 3, 2, 1), nn.ReLU())
    plain = with_torch_types(model, DepthwiseConv2d)
    x = torch.randn(1, 4, 8, 8)
    assert [type(layer) for layer in plain.children()] == [nn.Conv2d, nn.ReLU]
    assert type(model[0]) is DepthwiseConv2d
    torch.testing.assert_close(plain(x), model(x))


def test_computes_strided_gradients_itself() -> None:
    ours, _ = both(4, 1)
    y = ours.bfloat16()(torch.randn(1, 4, 8, 8, dtype=torch.bfloat16))
    assert type(y.grad_fn).__name__ == f"{_Strided.__name__}Backward"
