"""Packed products give what PyTorch's own give, are taken where they are faster, and stay ordinary modules."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.tiny import TINY
from vitblocks import Block, GlobalAttention, Mlp, SoftmaxAttend, extract, fuse, record_attention
from vitblocks.embed.adaptors import PatchConv2d
from vitblocks.fusion import packed, packing
from vitblocks.fusion.headwise import HeadwiseAttend
from vitblocks.fusion.packed import Packed, PackedConv2d, PackedLinear, why_not

from .models import DIM, images, model_of, shaken

needs_onednn = pytest.mark.skipif(
    why_not(torch.float32) is not None, reason="this PyTorch has no operators of oneDNN for it"
)
ACTIVATIONS = [
    None, nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.Sigmoid(), nn.Tanh(),
]  # fmt: skip


def vit(dtype: torch.dtype = torch.float32) -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(0)
    return model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM)), dtype=dtype)


def packed_vit() -> nn.Module:
    return fuse(vit(), images(dtype=torch.float32), pack="always").model


@needs_onednn
@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_keeps_its_outputs_up_to_rounding(name: str) -> None:
    model = shaken(TINY[name].build(), torch.float32)
    size = TINY[name].image_size
    fused, report = fuse(model, images(size, torch.float32), pack="always")
    assert report.packings
    assert report.drift is not None
    assert report.drift < 1e-5
    for batch in (1, 3):
        x = images(size, torch.float32, batch)
        with torch.no_grad():
            assert torch.allclose(fused(x), model(x), rtol=1e-4, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize("act", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_convolution_with_their_activation(act: nn.Module | None, bias: bool) -> None:
    after = nn.Identity() if act is None else act
    linear, x = nn.Linear(12, 20, bias=bias), torch.randn(3, 5, 12)
    conv = nn.Conv2d(4, 8, 3, stride=2, padding=(1, 0), groups=2, bias=bias)
    image = torch.randn(2, 4, 9, 11).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.allclose(PackedLinear(linear, 15, act)(x), after(linear(x)), atol=1e-5)
        assert torch.allclose(PackedLinear(linear, 15, act)(x[:, 1:]), after(linear(x[:, 1:])), atol=1e-5)
        assert PackedLinear(linear, 15, act)(x[:0]).shape == (0, 5, 20)
        given = PackedConv2d(conv, tuple(image.shape), act)(image)
        assert torch.allclose(given, after(conv(image)), atol=1e-5)
        assert given.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(why_not(torch.bfloat16) is not None, reason="this machine's oneDNN has no bfloat16")
def test_bfloat16() -> None:
    model = vit(torch.bfloat16)
    x = images(dtype=torch.bfloat16)
    fused, report = fuse(model, x, pack="always")
    assert report.ways
    with torch.no_grad():
        exact = vit(torch.float64)(x.double())
        wrong, was_wrong = ((m(x).double() - exact).abs().amax() for m in (fused, model))
    assert wrong < 2 * was_wrong + 0.02


@needs_onednn
def test_the_measured_fastest_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"plain": 1.0, "packed": 0.5, "head by head": 0.5, "packed with activation": 2.0}

    def measure(ways: Mapping[str, Any], *rest: Any) -> dict[str, float]:
        return {way: times[way] for way in ways}

    monkeypatch.setattr(packing, "_measure", measure)
    x = images(dtype=torch.float32)
    fused, report = fuse(vit(), x)
    assert report.ways.keys() == {"packed", "head by head"}
    assert all(packing.speedup == 2 for packing in report.packings)
    assert type(fused.get_submodule("stages.0.layers.0.mlp.act")) is nn.GELU
    times["packed"] = times["head by head"] = 0.999  # within noise
    assert fuse(vit(), x).report.ways.keys() == {"plain"}
    times["packed with activation"] = 0.1
    fused, report = fuse(vit(), x)
    assert report.ways["packed with activation"] == 1
    assert type(fused.get_submodule("stages.0.layers.0.mlp.act")) is nn.Identity


BIASES = {"none": None, "heads": (3, 6, 7), "alike": (6, 7), "images": (2, 1, 6, 7), "keys": (2, 1, 1, 7)}


@needs_onednn
@pytest.mark.parametrize("groups", [(), (5,)])
@pytest.mark.parametrize("shape", BIASES.values(), ids=BIASES)
def test_attention_head_by_head(shape: tuple[int, ...] | None, groups: tuple[int, ...]) -> None:
    if shape is not None and len(shape) == 4 and groups:
        shape = (shape[0], 1, *shape[1:])
    # As they come from one projection: a head's rows lie apart in memory.
    q, k, v = (torch.randn(2, *groups, n, 3, d).transpose(-3, -2) for n, d in ((6, 4), (7, 4), (7, 9)))
    bias = None if shape is None else torch.randn(shape).masked_fill(torch.rand(shape) < 0.2, float("-inf"))
    for scale in (None, 0.3):
        attend = SoftmaxAttend(scale=scale)
        expected = attend(q, k, v, bias)
        assert torch.allclose(HeadwiseAttend(attend, torch.float32)(q, k, v, bias), expected, atol=1e-6)
        # One head of one image, of which a slice would be a view with rows apart.
        single = [part[:1, ..., :1, :, :] for part in (q, k, v)]
        assert torch.allclose(HeadwiseAttend(attend, torch.float32)(*single), attend(*single), atol=1e-6)


@needs_onednn
def test_measuring_gives_seconds_of_every_way() -> None:
    report = fuse(vit(), images(dtype=torch.float32)).report
    fc1 = next(p for p in report.packings if p.name.endswith("fc1"))
    assert fc1.seconds.keys() == {"plain", "packed", "packed with activation"}
    assert all(seconds > 0 for seconds in fc1.seconds.values())
    assert "GELU" in str(report)


def test_nothing_is_packed_where_the_operators_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    packed._why_not.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", _absent)
    model = vit()
    fused, report = fuse(model, images(dtype=torch.float32))
    packed._why_not.cache_clear()
    assert "absent" in str(report.unpacked)
    assert not [m for m in fused.modules() if isinstance(m, Packed)]
    assert report.drift is not None
    assert report.drift < 1e-5


def _absent(*args: Any) -> torch.Tensor:
    raise AttributeError("absent")


def test_float64_is_not_packed() -> None:
    assert "float64" in str(fuse(vit(torch.float64), images()).report.unpacked)


@needs_onednn
def test_copies_pickles_and_state_dicts_keep_the_weights() -> None:
    fused, x = packed_vit(), images(dtype=torch.float32)
    other = fuse(model_of(Block(DIM, GlobalAttention(DIM, 2), Mlp(DIM)), dtype=torch.float32), x, pack="always").model
    with torch.no_grad():
        expected = fused(x)
        assert torch.equal(deepcopy(fused)(x), expected)
        assert torch.equal(pickle.loads(pickle.dumps(fused))(x), expected)
        assert not torch.allclose(other(x), expected)
        other.load_state_dict(fused.state_dict())
        assert torch.equal(other(x), expected)
    state = fused.state_dict()
    state.pop("embed.proj.weight")
    with pytest.raises(RuntimeError, match=r"embed\.proj\.weight"):
        other.load_state_dict(state)


@needs_onednn
def test_gradients_of_the_image() -> None:
    model, x = vit(), images(dtype=torch.float32)
    own, fused = x.clone().requires_grad_(), x.clone().requires_grad_()
    model(own).square().sum().backward()
    packed_vit()(fused).square().sum().backward()
    assert own.grad is not None
    assert fused.grad is not None
    assert torch.allclose(own.grad, fused.grad, rtol=1e-3, atol=1e-5)


@needs_onednn
def test_other_dtypes_and_devices() -> None:
    fused = packed_vit()
    with pytest.raises(ValueError, match=r'fuse with pack="never"'):
        deepcopy(fused).double()
    with pytest.raises(ValueError, match="meta"):
        deepcopy(fused).to("meta")


@needs_onednn
def test_packed_convolutions_refuse_what_they_refused() -> None:
    conv = PackedConv2d(PatchConv2d(3, 8, 4), (1, 3, 8, 8))
    with pytest.raises(ValueError, match="does not divide"):
        conv(torch.zeros(1, 3, 9, 8))


@needs_onednn
def test_attention_and_features_can_be_looked_at() -> None:
    model, fused, x = vit(), packed_vit(), images(dtype=torch.float32)
    with torch.no_grad():
        with record_attention(model) as own, extract(model, Block) as before:
            model(x)
        with record_attention(fused) as others, extract(fused, Block) as after:
            fused(x)
    assert len(own) == len(before) == 1
    assert torch.allclose(own[0].weights, others[0].weights, atol=1e-5)
    for name, tokens in before.items():
        assert torch.allclose(tokens.x, after[name].x, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_compiled_around_what_is_packed() -> None:
    fused, x = packed_vit(), images(dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(torch.compile(fused, backend="eager")(x), fused(x), atol=1e-5)


@needs_onednn
def test_layers_of_pytorch_that_read_their_parts_weights_are_left() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    fused, report = fuse(layer, x, pack="always")
    assert not report.packings
    with torch.no_grad():
        assert torch.allclose(fused(x), layer(x), atol=1e-5)


def test_f_linear_is_what_packing_is_compared_with() -> None:
    linear = nn.Linear(4, 4)
    ways = packing._ways(linear, (2, 4), None) if why_not(torch.float32) is None else {"plain": packing.Way(linear)}
    x = torch.randn(2, 4)
    assert torch.equal(next(iter(ways.values())).module(x), F.linear(x, linear.weight, linear.bias))
