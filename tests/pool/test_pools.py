"""Pools from tokens to one vector an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks.feedforward import Mlp
from vitblocks.pool import AttentionPool, ClassMeanPool, ClassPool, MeanPool, PrefixMeanPool, SequencePool

DIM = 8


def tokens(prefix: int = 2) -> Tensor:
    return torch.randn(3, prefix + 6, DIM)


def test_class_pool_reads_the_first_prefix_tokens() -> None:
    x = tokens()
    assert torch.equal(ClassPool()(x, (2, 3)), x[:, 0])
    assert torch.equal(ClassPool(2)(x, (2, 3)), x[:, :2])
    assert torch.equal(ClassPool()(x, (6,)), x[:, 0])


def test_class_pool_names_what_is_missing() -> None:
    with pytest.raises(
        ValueError, match=r"ClassPool reads 1 prefix token\(s\), got 0: x has 6 tokens for grid \(2, 3\)"
    ):
        ClassPool()(tokens(0), (2, 3))
    with pytest.raises(ValueError, match=r"ClassPool reads 3 prefix token\(s\), got 2"):
        ClassPool(3)(tokens(), (2, 3))
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        ClassPool(0)


def test_mean_pool_leaves_prefix_tokens_out_and_norms_the_mean() -> None:
    x, norm = tokens(), nn.LayerNorm(DIM)
    torch.testing.assert_close(MeanPool()(x, (2, 3)), x[:, 2:].sum(dim=1) / 6)
    torch.testing.assert_close(MeanPool(norm)(x, (2, 3)), norm(x[:, 2:].mean(dim=1)))
    with pytest.raises(ValueError, match=r"MeanPool needs patches, grid \(0, 0\) has none"):
        MeanPool()(x, (0, 0))


def test_class_mean_pool_leaves_other_prefix_tokens_out() -> None:
    x = tokens()
    torch.testing.assert_close(ClassMeanPool()(x, (2, 3)), torch.cat([x[:, 0], x[:, 2:].sum(dim=1) / 6], dim=1))
    with pytest.raises(ValueError, match="ClassMeanPool reads 1"):
        ClassMeanPool()(tokens(0), (2, 3))
    with pytest.raises(ValueError, match=r"ClassMeanPool needs patches, grid \(0, 0\) has none"):
        ClassMeanPool()(x, (0, 0))


def test_sequence_pool_weighs_all_tokens() -> None:
    pool, x = SequencePool(DIM), tokens()
    logits = (x * pool.logit.weight).sum(dim=-1) + pool.logit.bias
    weights = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(pool.weights(x), weights)
    torch.testing.assert_close(pool(x, (2, 3)), (x * weights[..., None]).sum(dim=1))


@pytest.mark.parametrize("mlp", [None, Mlp(DIM, 12)])
def test_attention_pool_asks_with_its_probe(mlp: Mlp | None) -> None:
    pool, x = AttentionPool(DIM, 2, mlp=mlp), tokens()
    mha = nn.MultiheadAttention(DIM, 2, batch_first=True)
    assert mha.in_proj_weight is not None
    with torch.no_grad():
        mha.in_proj_weight.copy_(torch.cat([pool.q.weight, pool.kv.weight]))
        mha.in_proj_bias.copy_(torch.cat([pool.q.bias, pool.kv.bias]))
    mha.out_proj.load_state_dict(pool.proj.state_dict())
    expected, _ = mha(pool.probe.expand(3, -1, -1), x, x, need_weights=False)
    if mlp is not None and pool.norm is not None:
        expected = expected + mlp(pool.norm(expected), (0, 0))
    torch.testing.assert_close(pool(x, (2, 3)), expected[:, 0])


def test_prefix_mean_pool_reads_the_prefix_alone() -> None:
    x = tokens()
    torch.testing.assert_close(PrefixMeanPool()(x, (2, 3)), (x[:, 0] + x[:, 1]) / 2)
    with pytest.raises(ValueError, match=r"PrefixMeanPool reads 1 prefix token\(s\), got 0"):
        PrefixMeanPool()(tokens(0), (2, 3))
