"""Prefix tokens: the layers that add and read them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitblocks.prefix import ClassToken, MaskToken, PerToken, RegisterToken, join_prefix, require_prefix


def test_class_tokens_come_first_in_every_image() -> None:
    layer, x = ClassToken(4, 2), torch.randn(3, 6, 4)
    y = layer(x, (2, 3))
    assert torch.equal(y[:, 2:], x)
    assert torch.equal(y[:, :2], layer.token.expand(3, -1, -1))
    assert layer(x.bfloat16(), (2, 3)).dtype == torch.bfloat16
    assert 0.015 < ClassToken(1024).token.std() < 0.025


def test_joining_no_prefix_costs_no_copy() -> None:
    patches = torch.randn(1, 4, 2)
    assert join_prefix(patches[:, :0], patches) is patches


def test_per_token_leaves_the_grid_alone() -> None:
    x, norm = torch.randn(2, 7, 4), nn.LayerNorm(4)
    assert torch.equal(PerToken(norm)(x, (2, 3)), norm(x))


def test_messages_name_the_numbers() -> None:
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        ClassToken(4, 0)
    x = torch.zeros(1, 7, 2)
    assert require_prefix(x, (2, 3), "ClassPool") == 1
    with pytest.raises(
        ValueError, match=r"ClassPool reads 2 prefix token\(s\), got 1: x has 7 tokens for grid \(2, 3\)"
    ):
        require_prefix(x, (2, 3), "ClassPool", 2)


def test_registers_come_between_the_prefix_and_the_patches() -> None:
    layer, x = RegisterToken(4, 2), torch.randn(3, 1 + 6, 4)
    y = layer(x, (2, 3))
    assert torch.equal(y[:, :1], x[:, :1])
    assert torch.equal(y[:, 1:3], layer.token.expand(3, -1, -1))
    assert torch.equal(y[:, 3:], x[:, 1:])
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        RegisterToken(4, 0)


def test_mask_token_replaces_patches_alone() -> None:
    layer, x = MaskToken(4), torch.randn(2, 1 + 6, 4)
    layer.token.fill_(3.0)
    masked = torch.rand(2, 6) < 0.5
    y = layer.replace(x, (2, 3), masked)
    assert torch.equal(y[:, :1], x[:, :1])
    assert (y[:, 1:][masked] == 3).all()
    assert torch.equal(y[:, 1:][~masked], x[:, 1:][~masked])
    assert layer(x, (2, 3)) is x
