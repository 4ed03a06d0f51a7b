"""Blocks against their formulas, in the order of their papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitblocks.attention import ClassAttention, GlobalAttention
from vitblocks.block import Block, Chain, ClassBlock, ParallelBlock, PostNormBlock
from vitblocks.feedforward import Mlp
from vitblocks.norm import RMSNorm
from vitblocks.residual import Residual

from .zoo.common import stirred

DIM, GRID = 8, (2, 3)


def parts() -> dict[str, Any]:
    return {"dim": DIM, "attn": GlobalAttention(DIM, 2), "mlp": Mlp(DIM)}


def tokens() -> Tensor:
    return torch.randn(2, 1 + 6, DIM, dtype=torch.float64)


def test_block() -> None:
    block, x = stirred(Block(**parts(), layer_scale=0.5)), tokens()
    scale1, scale2 = block.shortcut1.scale.weight, block.shortcut2.scale.weight
    y = x + scale1 * block.attn(block.norm1(x), GRID)
    torch.testing.assert_close(block(x, GRID), y + scale2 * block.mlp(block.norm2(y), GRID))


def test_post_norm_block() -> None:
    block, x = stirred(PostNormBlock(**parts())), tokens()
    y = block.norm1(x + block.attn(x, GRID))
    torch.testing.assert_close(block(x, GRID), block.norm2(y + block.mlp(y, GRID)))


def test_parallel_block() -> None:
    block, x = stirred(ParallelBlock(**parts())), tokens()
    expected = x + block.attn(block.norm1(x), GRID) + block.mlp(block.norm2(x), GRID)
    torch.testing.assert_close(block(x, GRID), expected)


def test_class_block() -> None:
    block = stirred(ClassBlock(DIM, ClassAttention(DIM, 2), Mlp(DIM)))
    x = tokens()
    y = x[:, :1] + block.attn(block.norm1(x), GRID)[:, :1]
    y = y + block.mlp(block.norm2(y), (0, 0))
    torch.testing.assert_close(block(x, GRID), torch.cat([y, x[:, 1:]], dim=1))
    with pytest.raises(ValueError, match=r"ClassBlock reads 1 prefix token\(s\), got 0"):
        block(x[:, 1:], GRID)


def test_chain_runs_layers_in_order_under_their_names() -> None:
    first, second = Residual(DIM, GlobalAttention(DIM, 2)), Residual(DIM, Mlp(DIM))
    chain, x = stirred(Chain(attn=first, mlp=second)), tokens()
    torch.testing.assert_close(chain(x, GRID), second(first(x, GRID), GRID))
    assert {key.split(".")[0] for key in chain.state_dict()} == {"attn", "mlp"}


def test_norms_are_a_factory() -> None:
    block = Block(**parts(), norm=RMSNorm)
    assert isinstance(block.norm1, nn.RMSNorm)
    assert isinstance(block.norm2, nn.RMSNorm)


def test_drop_path_is_drawn_for_each_branch() -> None:
    """At a rate of one half all four outcomes of two branches occur."""
    block, x = stirred(Block(**parts(), drop_path=0.5)), tokens()[:1].expand(64, -1, -1)
    outcomes = {tuple(sample.flatten().tolist()) for sample in block.train()(x, GRID)}
    assert len(outcomes) == 4
