"""Heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks.head import AveragedHeads, linear_head


def test_a_linear_head_or_none() -> None:
    head = linear_head(8, 3)
    assert isinstance(head, nn.Linear)
    assert head.out_features == 3
    x = torch.randn(2, 8)
    assert linear_head(8, 0)(x) is x
    with pytest.raises(ValueError, match="num_classes must be at least 0, got -1"):
        linear_head(8, -1)


def test_averaged_heads_read_a_row_each() -> None:
    first, second = nn.Linear(8, 3), nn.Linear(8, 3)
    heads, features = AveragedHeads([first, second]), torch.randn(4, 2, 8)
    each = heads.each(features)
    assert len(each) == 2
    torch.testing.assert_close(each[0], first(features[:, 0]))
    torch.testing.assert_close(each[1], second(features[:, 1]))
    for training in (True, False):
        torch.testing.assert_close(heads.train(training)(features), (each[0] + each[1]) / 2)


def test_averaged_heads_may_share_their_features() -> None:
    first, second = nn.Linear(8, 3), nn.Linear(8, 3)
    features = torch.randn(4, 8)
    each = AveragedHeads([first, second]).each(features)
    torch.testing.assert_close(each[1], second(features))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="heads must name at least one head"):
        AveragedHeads([])
    with pytest.raises(ValueError, match=r"features \(4, 3, 8\) must have a row for each of 2 heads"):
        AveragedHeads([nn.Linear(8, 3), nn.Linear(8, 3)]).each(torch.randn(4, 3, 8))
