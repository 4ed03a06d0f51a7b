"""One model in many threads: each records, extracts and counts as if it were alone, and the model stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from vitblocks import ViT, WindowAttention, Windows, extract, record_attention, summary, swap_attention
from vitblocks.attention import Attend
from vitblocks.inspect import capture

THREADS, ROUNDS = 8, 6


def small() -> ViT:
    torch.manual_seed(0)
    return ViT(image_size=16, patch_size=4, num_classes=3, dim=16, depth=2, heads=2, mlp_dim=16).eval()


def recorded(model: nn.Module, x: Tensor) -> Tensor:
    with record_attention(model) as records:
        model(x)
    return torch.stack([record.weights for record in records])


def extracted(model: nn.Module, x: Tensor) -> Tensor:
    with extract(model, "stages.*.layers.*") as tokens:
        model(x)
    return torch.stack([record.x for record in tokens.values()])


def captured(model: nn.Module, x: Tensor) -> Tensor:
    with capture(model, Attend) as outputs:
        model(x)
    return torch.stack(outputs)


def counted(model: nn.Module, x: Tensor) -> Tensor:
    return torch.tensor(summary(model).macs)


def swapped_copy(model: nn.Module, x: Tensor) -> Tensor:
    other = deepcopy(model)
    swap_attention(other, WindowAttention, windows=Windows(2), where=0, sample=x)
    return other(x)


LOOKS: list[Callable[[nn.Module, Tensor], Tensor]] = [recorded, extracted, captured, counted, swapped_copy]


def plain(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


@pytest.mark.parametrize("look", LOOKS)
def test_each_thread_sees_its_own(look: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """Half of the threads look, the other half only run the model, all at once and with images of their own."""
    model = small()
    before = deepcopy(model.state_dict())
    images = [torch.rand(1 + i % 3, 3, 16, 16) for i in range(THREADS)]
    what = [look if i % 2 else plain for i in range(THREADS)]
    with torch.no_grad():
        alone = [run(model, x) for run, x in zip(what, images, strict=True)]
    start = Barrier(THREADS)

    def work(i: int) -> list[Tensor]:
        start.wait()
        with torch.no_grad():
            return [what[i](model, images[i]) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for found, expected in zip(pool.map(work, range(THREADS)), alone, strict=True):
            for one in found:
                torch.testing.assert_close(one, expected)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
