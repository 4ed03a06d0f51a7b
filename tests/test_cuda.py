"""On a GPU: logits and gradients of the CPU, half precision, and fused kernels that are really taken. Skipped where there is none."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.attention_kernels import attention_kernels
from vitblocks import GlobalAttention, LocalWindowAttention, ReducedAttention, ShiftedWindows, WindowAttention, fast
from vitblocks.attention.talking_heads import TalkingHeadsAttention
from vitblocks.position import RelativeBias

from .zoo.tiny import TINY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

MATCH: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-9}
"""In float64, where no TensorFloat-32 stands in for anything."""


def logits_and_gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """In evaluation mode, where nothing is random."""
    logits = model.eval()(images)
    logits.square().sum().backward()
    return logits, [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_gives_the_logits_and_gradients_of_the_cpu(name: str) -> None:
    build, size = TINY[name]
    model, images = build().double(), torch.randn(2, 3, size, size, dtype=torch.float64)
    on_gpu = copy.deepcopy(model).cuda()
    expected, expected_gradients = logits_and_gradients(model, images)
    found, gradients = logits_and_gradients(on_gpu, images.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, **MATCH)
    assert any(gradient is not None for gradient in gradients)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (wanted is None)
        if gradient is not None:
            torch.testing.assert_close(gradient.cpu(), wanted, **MATCH)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_runs_and_trains_in_half_precision(name: str, dtype: torch.dtype) -> None:
    build, size = TINY[name]
    model, images = build().cuda(), torch.randn(4, 3, size, size, device="cuda")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.autocast("cuda", dtype=dtype):
        loss = model(images).float().square().mean()
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    with torch.no_grad():
        logits = model.eval().to(dtype)(images.to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()


def attentions() -> dict[str, tuple[nn.Module, SDPBackend, str]]:
    """Each with a kernel that can compute it, and what the profiler calls that; a mask or a bias leaves the efficient one."""
    windows = {"window": 4, "position_bias": RelativeBias(2, 4)}
    return {
        "global": (GlobalAttention(128, 2), SDPBackend.FLASH_ATTENTION, "flash"),
        "reduced": (ReducedAttention(128, 2, reduction=2), SDPBackend.FLASH_ATTENTION, "flash"),
        "window": (LocalWindowAttention(128, 2, window=4), SDPBackend.FLASH_ATTENTION, "flash"),
        "shifted": (WindowAttention(128, 2, windows=ShiftedWindows(4)), SDPBackend.EFFICIENT_ATTENTION, "efficient"),
        "biased": (LocalWindowAttention(128, 2, **windows), SDPBackend.EFFICIENT_ATTENTION, "efficient"),
    }


def tokens() -> Tensor:
    return torch.randn(2, 64, 128, device="cuda", dtype=torch.bfloat16)


@pytest.mark.parametrize("name", ["global", "reduced", "window", "shifted", "biased"])
def test_attention_can_take_the_fused_kernel(name: str) -> None:
    """With every other kernel forbidden it takes that one and gives what it gives in float32."""
    attention, backend, kernel = attentions()[name]
    attention, x = attention.cuda(), tokens()
    with torch.no_grad():
        expected = attention.float()(x.float(), (8, 8))
        attention = attention.bfloat16()
        with sdpa_kernel([backend]):
            found = attention(x, (8, 8))
            took = attention_kernels(lambda: attention(x, (8, 8)))
    assert took.calls == {kernel: 1}
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05 * expected.abs().max().item())


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ["global", "reduced", "window", "shifted", "biased"])
def test_attention_takes_a_fused_kernel_by_itself(name: str, training: bool) -> None:
    attention, x = attentions()[name][0].cuda().bfloat16(), tokens()

    def work() -> None:
        with torch.set_grad_enabled(training):
            y = attention(x, (8, 8))
        if training:
            y.float().square().mean().backward()

    took = attention_kernels(work)
    assert took.slow == 0
    assert sum(took.calls.values()) == 1


def test_kinds_that_mix_heads_have_no_fused_kernel() -> None:
    attention, x = TalkingHeadsAttention(128, 2).cuda().bfloat16(), tokens()
    with torch.no_grad():
        assert attention(x, (8, 8)).isfinite().all()
        assert attention_kernels(lambda: attention(x, (8, 8))).calls == {"plain": 1}


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_is_recorded_and_replayed(name: str) -> None:
    build, size = TINY[name]
    model = build().cuda().eval()
    first, second, more = (torch.randn(n, 3, size, size, device="cuda") for n in (2, 2, 3))
    expected = [model(images) for images in (first, second, more)]
    report = fast.graphs(model)
    for _ in range(2):
        found = [model(images) for images in (first, second, more)]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    report.undo()
    torch.testing.assert_close(model(first), expected[0], rtol=1e-4, atol=1e-5)


def test_recorded_calls_follow_weights_modes_and_copies() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU()).cuda().eval()
    fast.graphs(model)
    x = torch.randn(4, 8, device="cuda")
    with torch.inference_mode():
        model(x)
    with torch.no_grad():
        model(x)
        model[0].weight.mul_(2.0)
        plain = copy.deepcopy(model)
        fast.undo(plain)
        torch.testing.assert_close(model(x), plain(x))
        torch.testing.assert_close(copy.deepcopy(model)(x), plain(x))
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert model(x).dtype == torch.bfloat16
        model.double()
        torch.testing.assert_close(model(x.double()), plain.double()(x.double()))
    assert model.train()(x.double()).requires_grad


def test_convolutions_of_several_channels_take_them_first() -> None:
    conv = nn.Conv2d(8, 16, 3, 2, 1, groups=8).cuda()
    x = torch.randn(2, 8, 9, 9, device="cuda").contiguous(memory_format=torch.channels_last)
    expected = conv(x)
    report = fast.convolutions(conv)
    assert report.changed == {"": "maps with the channels first"}
    torch.testing.assert_close(conv(x), expected)
    report.undo()
    assert type(conv) is nn.Conv2d
