"""How far outputs are off."""

from __future__ import annotations

import math

import torch

from vitblocks.folding.report import relative_error


def test_the_error_is_of_the_largest_and_at_least_in_float32() -> None:
    expected = torch.tensor([4.0, -8.0])
    assert relative_error(expected + torch.tensor([0.0, 2.0]), expected) == 0.25
    large = torch.tensor([60000.0], dtype=torch.float16)
    assert relative_error(-large, large) == 2.0  # whose difference is no number in float16


def test_the_error_where_there_is_nothing_to_compare_with() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert relative_error(zero, zero) == 0.0
    assert relative_error(one, zero) == math.inf
    assert relative_error(one, torch.ones(3)) == math.inf
    assert math.isnan(relative_error(one, one * math.nan))
