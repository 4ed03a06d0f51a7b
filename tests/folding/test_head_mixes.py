"""Mixed heads by one product each: exact, recorded as before, and left alone where the mix is no mix alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks import (
    Block,
    LocalWindowAttention,
    Mlp,
    ReAttend,
    ReAttention,
    RelativeBias,
    TalkingHeadsAttend,
    TalkingHeadsAttention,
    fold,
    record_attention,
)
from vitblocks.attention import Attend
from vitblocks.folding.head_mixes import MixedHeads
from vitblocks.testing import check_attend

from .models import DIM, images, model_of
from .test_folding import difference

RULE = "heads mixed by a product"

KINDS = {
    "talking": lambda: TalkingHeadsAttention(DIM, 2),
    "re-attention": lambda: ReAttention(DIM, 2, weight_scale=1.5),
    "with positions": lambda: TalkingHeadsAttention(DIM, 2, position_bias=RelativeBias(2, 5)),
    "in windows": lambda: LocalWindowAttention(DIM, 2, window=3, attend=TalkingHeadsAttend(2)),
    "re-attention in windows": lambda: LocalWindowAttention(DIM, 2, window=5, attend=ReAttend(2)),
}


@pytest.mark.parametrize("name", KINDS)
def test_heads_are_mixed_by_products(name: str) -> None:
    model = model_of(Block(DIM, KINDS[name](), Mlp(DIM)))
    folded, report = fold(model, images())
    assert report.counts[RULE] == 1
    assert difference(model, folded, images(batch=3)) < 1e-9
    with record_attention(model) as before, record_attention(folded) as after:
        model(images())
        folded(images())
    assert torch.allclose(before[0].weights, after[0].weights, rtol=0, atol=1e-9)
    if name == "talking":  # compiling takes seconds, and the parts are the same ones
        with torch.no_grad():
            assert difference(folded, torch.compile(folded, backend="eager", fullgraph=True), images()) < 1e-12
    assert fold(folded, images()).report.counts == {}


def test_it_is_an_attend_as_all_are() -> None:
    mix = ReAttend(2).mix
    nn.init.uniform_(mix.bias)
    check_attend(MixedHeads(None, mix, None), 2, 4)


def test_a_norm_by_each_batch_is_kept() -> None:
    attn = ReAttention(DIM, 2)
    assert isinstance(attn.attend, ReAttend)
    attn.attend.norm = nn.BatchNorm2d(2, track_running_stats=False)
    folded, report = fold(model_of(Block(DIM, attn, Mlp(DIM))), images())
    assert RULE not in report.counts
    assert not [module for module in folded.modules() if isinstance(module, MixedHeads)]


def test_a_subclass_of_ones_own_is_left_alone() -> None:
    class Warm(TalkingHeadsAttend):
        def weights(self, q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
            return super().weights(0.5 * q, k, bias)

    attend: Attend = Warm(2)
    model = model_of(Block(DIM, LocalWindowAttention(DIM, 2, window=5, attend=attend), Mlp(DIM)))
    folded, report = fold(model, images())
    assert RULE not in report.counts
    assert difference(model, folded, images()) < 1e-9
