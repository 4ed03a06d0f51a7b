"""A forward pass with gradients and no backward pass leaves nothing behind: neither memory nor reference cycles that hold tensors."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitblocks import CaiT, Swin, ViT, extract, fast, record_attention, summary

from .zoo.tiny import TINY

STATM = Path("/proc/self/statm")
SIZES = {"image_size": 32, "patch_size": 4, "num_classes": 5, "dim": 48, "heads": 2, "mlp_dim": 96}


def recomputed() -> nn.Module:
    """A ViT that keeps less for its backward pass: the hooks that see to it must not keep more."""
    model = ViT(**SIZES, depth=2)
    report = fast.recompute(model)
    assert report.changed or report.aside
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "ViT": lambda: ViT(**SIZES, depth=2, dropout=0.1, drop_path=0.1),
    "Swin": lambda: Swin(num_classes=5, dim=24, depths=(2,), heads=(2,), window=4, patch_size=2, drop_path=0.1),
    "ViT, recomputed": recomputed,
    "CaiT": lambda: CaiT(**SIZES, depth=2, cls_depth=1, layer_dropout=0.1),
}
PASSES, LIMIT = 200, 64 * 2**20
"""How many passes, and the bytes by which the process may grow in them: a graph of any of these has more than 1 MiB."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(run: Callable[[], object], times: int) -> int:
    """By how many bytes the process grows while something runs again and again.

    What earlier tests gave back to the allocator goes back to the system before: it would hide what is lost. Some calls come between, in
    which the process takes again what it works with.
    """
    run()
    ctypes.CDLL(None).malloc_trim(0)
    for _ in range(60):
        run()
    before = resident()
    for _ in range(times):
        run()
    return resident() - before


@pytest.fixture
def no_collection() -> Iterator[None]:
    """No garbage is collected, so that what a cycle holds stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.skipif(
    not STATM.exists() or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the memory of a process is read from /proc, its allocator is glibc's",
)
@pytest.mark.usefixtures("no_collection")
class TestMemory:
    @pytest.mark.parametrize("name", MODELS)
    def test_stays_the_same(self, name: str) -> None:
        model, x = MODELS[name]().train(), torch.randn(8, 3, 32, 32)
        assert grown(lambda: model(x), PASSES) < LIMIT

    @pytest.mark.parametrize("name", MODELS)
    def test_would_be_seen_to_grow(self, name: str) -> None:
        model, x = MODELS[name]().train(), torch.randn(8, 3, 32, 32)
        kept: list[Tensor] = []
        assert grown(lambda: kept.append(model(x)), PASSES // 2) > LIMIT


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", sorted(TINY))
def test_no_cycle_holds_a_tensor(name: str) -> None:
    build, size = TINY[name]
    model, x = build().train(), torch.randn(2, 3, size, size)
    model(x)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        model(x)
        gc.collect()
        held = [found for found in gc.garbage if isinstance(found, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not held


def records(model: nn.Module, x: Tensor) -> None:
    with record_attention(model):
        model(x)


def records_that_fail(model: nn.Module, x: Tensor) -> None:
    with suppress(KeyError), record_attention(model):
        model(x)
        raise KeyError


def extracts(model: nn.Module, x: Tensor) -> None:
    with extract(model, "stages.*.layers.*"):
        model(x)


def counts(model: nn.Module, x: Tensor) -> None:
    summary(model, x.shape[-1])


@pytest.mark.parametrize("look", [records, records_that_fail, extracts, counts])
def test_looking_leaves_no_object_behind(look: Callable[[nn.Module, Tensor], None]) -> None:
    """With gradients, 40 times: less than one object each."""
    model, x = MODELS["ViT"]().eval(), torch.rand(1, 3, 32, 32)

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    for _ in range(3):
        look(model, x)
    before = objects()
    for _ in range(40):
        look(model, x)
    assert objects() - before < 40
