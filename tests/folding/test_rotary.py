"""Rotary tables are computed once for a sample's size."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from vitblocks import Block, ClassToken, GlobalAttention, LocalWindowAttention, Mlp, Rotary2d, fold

from .models import DIM, images, model_of
from .test_folding import difference

RULE = "rotary tables frozen"
ATTENTIONS = {
    "global": lambda: GlobalAttention(DIM, 2, rotary=Rotary2d(4, pairs="halves", coordinates="centre")),
    "mixed": lambda: GlobalAttention(DIM, 2, rotary=Rotary2d(4, mixed_heads=2)),
    "windows": lambda: LocalWindowAttention(DIM, 2, window=2, rotary=Rotary2d(4)),
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("tokens", [0, 2])
def test_rotary_tables_are_frozen(name: str, tokens: int) -> None:
    before = [ClassToken(DIM, tokens)] if tokens else []
    model = model_of(*before, Block(DIM, ATTENTIONS[name](), Mlp(DIM)))
    folded, report = fold(model, images())
    assert report.counts[RULE] == 1
    assert difference(model, folded, images(batch=3)) < 1e-9
    assert not [module for module in folded.modules() if isinstance(module, Rotary2d)]
    assert difference(folded, deepcopy(folded), images()) == 0
    if name != "windows":
        with pytest.raises(ValueError, match=r"this Rotary2d was frozen for .* grid \(5, 5\)"):
            folded(images(28))
    assert RULE not in fold(model).report.counts


def test_rotary_parts_that_are_shared_or_others_are_left_alone() -> None:
    class Still(Rotary2d):
        def forward(self, q: torch.Tensor, k: torch.Tensor, grid: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
            return q, k

    model: nn.Module = model_of(Block(DIM, GlobalAttention(DIM, 2, rotary=Still(4)), Mlp(DIM)))
    folded, report = fold(model, images())
    assert RULE not in report.counts
    assert difference(model, folded, images()) < 1e-9
