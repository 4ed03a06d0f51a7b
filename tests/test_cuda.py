"""On a GPU: the same logits as on a CPU, half precision, and fused kernels that are really taken. Skipped where there is none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitblocks import GlobalAttention, LocalWindowAttention, ReducedAttention, ShiftedWindows, WindowAttention
from vitblocks.attention.talking_heads import TalkingHeadsAttention

from .zoo.tiny import TINY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_gives_the_logits_of_the_cpu(name: str) -> None:
    build, size = TINY[name]
    model, image = build().double().eval(), torch.randn(2, 3, size, size, dtype=torch.float64)
    on_gpu = copy.deepcopy(model).cuda()
    with torch.no_grad():
        torch.testing.assert_close(on_gpu(image.cuda()).cpu(), model(image), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(TINY))
def test_every_model_runs_and_trains_in_half_precision(name: str, dtype: torch.dtype) -> None:
    build, size = TINY[name]
    model, image = build().cuda(), torch.randn(4, 3, size, size, device="cuda")
    with torch.autocast("cuda", dtype=dtype):
        loss = model(image).float().square().mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        assert copy.deepcopy(model).eval().to(dtype)(image.to(dtype)).isfinite().all()


@pytest.mark.parametrize(
    ("attention", "backend"),
    [
        (GlobalAttention(128, 2), SDPBackend.FLASH_ATTENTION),
        (ReducedAttention(128, 2, reduction=2), SDPBackend.FLASH_ATTENTION),
        (LocalWindowAttention(128, 2, window=4), SDPBackend.FLASH_ATTENTION),
        (WindowAttention(128, 2, windows=ShiftedWindows(4)), SDPBackend.EFFICIENT_ATTENTION),
    ],
    ids=["global", "reduced", "window", "shifted"],
)
def test_attention_takes_the_fused_kernel(attention: nn.Module, backend: SDPBackend) -> None:
    """With every other kernel forbidden it still runs; a mask leaves the efficient one."""
    x = torch.randn(2, 64, 128, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad(), sdpa_kernel([backend]):
        assert attention.cuda().bfloat16()(x, (8, 8)).isfinite().all()


def test_kinds_that_mix_heads_need_no_fused_kernel() -> None:
    x = torch.randn(2, 64, 128, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        assert TalkingHeadsAttention(128, 2).cuda().bfloat16()(x, (8, 8)).isfinite().all()
