"""Windows in one order: exact for every partition, and left alone where tokens must stand as they are."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import nn

from vitblocks import (
    Block,
    ClassToken,
    ConvFeedForward,
    DecomposedBias,
    DilatedWindows,
    GatedMlp,
    GridWindows,
    Mlp,
    ParallelBlock,
    PerToken,
    RelativeBias,
    Rotary2d,
    ShiftedWindows,
    SoftmaxAttend,
    TalkingHeadsAttend,
    WindowAttention,
    Windows,
    fold,
    record_attention,
)
from vitblocks.attention import Attend, Partition
from vitblocks.zoo import Swin
from vitblocks.zoo.swin import RolledWindows

from ..zoo.common import einops_as_operators
from .models import DIM, images, model_of, shaken
from .test_folding import difference

RULE = "windows in one order"
SIZE = 24  # a grid of 6 x 6


def windowed(
    windows: Partition,
    *,
    attend: Attend | None = None,
    mlp: nn.Module | None = None,
    rotary: bool = False,
    bias: nn.Module | None = None,
    kind: type = Block,
) -> nn.Module:
    attn = WindowAttention(
        DIM,
        2,
        windows=windows,
        position_bias=RelativeBias(2, 3) if bias is None else bias,
        attend=SoftmaxAttend() if attend is None else attend,
        rotary=Rotary2d(4) if rotary else None,
    )
    return kind(DIM, attn, Mlp(DIM) if mlp is None else mlp, layer_scale=0.5)


APPLIES: dict[str, Callable[[], list[nn.Module]]] = {
    "shifted": lambda: [windowed(Windows(3)), windowed(ShiftedWindows(3)), windowed(Windows(3))],
    "rolled": lambda: [windowed(RolledWindows(3, 1)), windowed(Windows((2, 3), padding="attended"))],
    "grids": lambda: [windowed(Windows(3)), windowed(GridWindows(3)), windowed(DilatedWindows(3, 2))],
    "the same": lambda: [windowed(Windows(2)), windowed(Windows(2))],
    "one window": lambda: [windowed(Windows(6)), windowed(ShiftedWindows(6))],
    "heads mixed": lambda: [windowed(w, attend=TalkingHeadsAttend(2)) for w in (Windows(3), ShiftedWindows(3))],
    "rotary": lambda: [windowed(w, rotary=True) for w in (Windows(3), ShiftedWindows(3))],
    "gated": lambda: [windowed(w, mlp=GatedMlp(DIM)) for w in (ShiftedWindows(3), Windows(3))],
}


@pytest.mark.parametrize("name", APPLIES)
def test_windows_in_a_row_stand_in_one_order(name: str) -> None:
    model = model_of(*APPLIES[name]())
    folded, report = fold(model, images(SIZE))
    assert report.counts[RULE] == 1
    assert len(folded.stages[0].layers) == 1
    for batch in (1, 3):
        assert difference(model, folded, images(SIZE, batch=batch)) < 1e-9
    assert fold(folded, images(SIZE)).report.counts == {}


def test_tokens_are_gathered_only_where_the_order_changes() -> None:
    gathers = {}
    for name in ("shifted", "the same", "one window"):
        folded, _ = fold(model_of(*APPLIES[name]()), images(SIZE))
        gathers[name] = [key.split(".")[-1] for key in folded.state_dict() if key.endswith(("gather", "back"))]
    assert gathers == {
        "shifted": ["back", "gather", "gather", "gather"],
        "the same": ["back", "gather"],
        "one window": [],
    }


def hooked() -> list[nn.Module]:
    layers = APPLIES["shifted"]()[:2]
    layers[0].register_forward_hook(lambda *_: None)
    return layers


STANDS_ASIDE: dict[str, Callable[[], list[nn.Module]]] = {
    "padded": lambda: [windowed(Windows(4)), windowed(ShiftedWindows(4))],
    "prefix": lambda: [ClassToken(DIM), windowed(Windows(3)), windowed(Windows(3))],
    "neighbours": lambda: [windowed(w, mlp=ConvFeedForward(DIM)) for w in (Windows(3), ShiftedWindows(3))],
    "parallel": lambda: [windowed(w, kind=ParallelBlock) for w in (Windows(3), ShiftedWindows(3))],
    "one block": lambda: [windowed(ShiftedWindows(3)), PerToken(nn.GELU()), windowed(Windows(3))],
    "a bias of queries": lambda: [windowed(Windows(3), bias=DecomposedBias(4, 3)) for _ in range(2)],
    "hooked": hooked,
    "shared": lambda: [windowed(Windows(3))] * 2,
}


@pytest.mark.parametrize("name", STANDS_ASIDE)
def test_other_windows_are_left_alone(name: str) -> None:
    model = model_of(*STANDS_ASIDE[name]())
    folded, report = fold(model, images(SIZE))
    assert RULE not in report.counts
    assert difference(model, folded, images(SIZE)) < 1e-9


def test_without_a_sample_nothing_is_known_of_windows() -> None:
    assert RULE not in fold(model_of(*APPLIES["shifted"]())).report.counts


def swin() -> nn.Module:
    return shaken(Swin(num_classes=5, dim=8, depths=(2, 3), heads=(2, 2), window=2, patch_size=4, padding="timm"))


def test_swin_whole() -> None:
    model = swin()
    x = images(32)
    folded, report = fold(model, x)
    assert report.counts[RULE] == 2
    assert report.drift is not None
    assert report.drift < 1e-9
    with pytest.raises(ValueError, match=r"frozen for grid \(8, 8\).*fold the model again"):
        folded(images(64))
    gradients = []
    for either in (model, folded):
        y = x.clone().requires_grad_()
        either(y).square().sum().backward()
        gradients.append(y.grad)
    assert torch.allclose(*gradients, rtol=0, atol=1e-9)
    exported = torch.export.export(folded, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad(), einops_as_operators():
        for other in (exported, torch.compile(folded, backend="eager", fullgraph=True), deepcopy(folded)):
            assert difference(folded, other, images(32, batch=3)) < 1e-12


def test_attention_is_recorded_with_its_places() -> None:
    model = swin()
    folded, _ = fold(model, images(32))
    with record_attention(model) as before, record_attention(folded) as after:
        model(images(32))
        folded(images(32))
    assert len(before) == len(after) == 5
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(old.weights, new.weights, rtol=0, atol=1e-9)
        assert torch.allclose(old.matrix(), new.matrix(), rtol=0, atol=1e-9)
