"""torch.compile without a graph break and torch.export with any batch size: every attention kind once, and other image sizes.

The classes of the zoo are in ``tests/transforms``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from vitblocks.attention import (
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    KernelAttend,
    LocalWindowAttention,
    ReAttend,
    ReAttention,
    ReducedAttention,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
)
from vitblocks.position import DistanceBias, DynamicBias, RelativeBias, Rotary2d
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend
from vitblocks.zoo.mobile_vit import Interleaved
from vitblocks.zoo.regionvit import RegionalAttention

from .test_model import tiny_models

DIM, HEADS, GRID = 16, 2, (5, 6)

KINDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "global": (lambda: GlobalAttention(DIM, HEADS), 1),
    "global, relative bias": (lambda: GlobalAttention(DIM, HEADS, position_bias=RelativeBias(HEADS, 4)), 1),
    "global, distance bias": (lambda: GlobalAttention(DIM, HEADS, position_bias=DistanceBias(HEADS, 4)), 1),
    "global, rotary": (lambda: GlobalAttention(DIM, HEADS, rotary=Rotary2d(8)), 1),
    "talking heads": (lambda: TalkingHeadsAttention(DIM, HEADS), 1),
    "re-attention": (lambda: ReAttention(DIM, HEADS), 1),
    "kernel": (lambda: GlobalAttention(DIM, HEADS, attend=KernelAttend(8)), 1),
    "smoothed": (lambda: GlobalAttention(DIM, HEADS, attend=SmoothedSoftmaxAttend()), 1),
    "windows": (lambda: LocalWindowAttention(DIM, HEADS, window=2), 0),
    "windows, talking heads": (
        lambda: LocalWindowAttention(DIM, HEADS, window=2, attend=TalkingHeadsAttend(HEADS)),
        1,
    ),
    "shifted windows": (lambda: LocalWindowAttention(DIM, HEADS, window=2, shift=1), 1),
    "dilated windows": (
        lambda: DilatedWindowAttention(DIM, HEADS, window=2, dilation=2, position_bias=DynamicBias(HEADS, 4)),
        1,
    ),
    "dilated windows, re-attention": (
        lambda: DilatedWindowAttention(DIM, HEADS, window=2, dilation=2, attend=ReAttend(HEADS)),
        0,
    ),
    "regional": (lambda: RegionalAttention(DIM, HEADS, window=(2, 3)), 6),
    "reduced": (lambda: ReducedAttention(DIM, HEADS, reduction=2), 1),
    "class": (lambda: ClassAttention(DIM, HEADS), 1),
    "convolutional projection": (lambda: ConvProjectionAttention(DIM, HEADS), 1),
    "interleaved": (lambda: Interleaved([GlobalAttention(DIM, HEADS)], (1, 2)), 0),
}


class OnGrid(nn.Module):
    """A layer at one grid, since an exported program takes tensors alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, GRID)


@pytest.fixture(autouse=True)
def _forget_compiled_code() -> Iterator[None]:
    yield
    torch.compiler.reset()


def check_compiled(module: nn.Module, *inputs: Tensor) -> None:
    # Sizes are fixed: symbolic ones through padded windows take minutes.
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=False)
    for x in inputs:
        torch.testing.assert_close(compiled(x), module(x))


def check_exported(module: nn.Module, first: Tensor, *others: Tensor) -> None:
    """Export with a batch of any size, and run with others than the one exported with."""
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module, (first,), dynamic_shapes=shapes).module()
    for x in (first, *others):
        torch.testing.assert_close(program(x), module(x))


@pytest.mark.parametrize("name", KINDS)
def test_attention_kinds_compile(name: str) -> None:
    make, prefix = KINDS[name]
    tokens = prefix + GRID[0] * GRID[1]
    check_compiled(OnGrid(make()).eval(), torch.randn(2, tokens, DIM))


@pytest.mark.parametrize("name", KINDS)
def test_attention_kinds_export(name: str) -> None:
    make, prefix = KINDS[name]
    tokens = prefix + GRID[0] * GRID[1]
    with torch.no_grad():
        check_exported(OnGrid(make()).eval(), torch.randn(2, tokens, DIM), torch.randn(5, tokens, DIM))


def test_a_compiled_model_takes_other_sizes() -> None:
    """A second batch and image size make the compiler's sizes symbolic; the plan of CaiT's contractions fixes them again."""
    model = tiny_models()["CaiT"]().eval()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for size in ((2, 3, 16, 16), (3, 3, 32, 16)):
            x = torch.randn(size)
            torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("name", tiny_models())
def test_rectangles_export(name: str) -> None:
    model = tiny_models()[name]().eval()
    with torch.no_grad():
        check_exported(model, torch.randn(2, 3, 32, 16), torch.randn(5, 3, 32, 16))


@pytest.mark.parametrize("name", ["ViT", "CaiT"])
def test_compiled_models_train(name: str) -> None:
    """Forward and backward traced ahead of time give the gradients that eager mode gives."""
    model = tiny_models()[name]().train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 3, 16, 16)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    for got, right in zip(
        torch.autograd.grad(compiled(x).square().sum(), list(model.parameters())), expected, strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-5)
