"""Each Attend against its formula written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitblocks.attention import Attend, KernelAttend, ReAttend, SoftmaxAttend, TalkingHeadsAttend
from vitblocks.attention.attend import add_bias, fold_bias, fold_groups, mask_bias
from vitblocks.attention.kernel import orthogonal_features
from vitblocks.attention.talking_heads import HeadMix
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend

from .common import HEADS, qkv


def softmax(x: Tensor) -> Tensor:
    return x.exp() / x.exp().sum(dim=-1, keepdim=True)


def stirred(attend: Attend) -> Attend:
    with torch.no_grad():
        for parameter in attend.double().parameters():
            parameter.copy_(torch.randn_like(parameter))
    return attend.eval()


def test_softmax_is_the_formula_and_the_fused_kernel() -> None:
    q, k, v = qkv(2)
    bias = torch.randn(HEADS, 5, 7, dtype=torch.float64)
    expected = softmax(torch.einsum("bhnd,bhmd->bhnm", q, k) / 2 + bias)
    torch.testing.assert_close(SoftmaxAttend().weights(q, k, bias), expected)
    torch.testing.assert_close(SoftmaxAttend()(q, k, v, bias), expected @ v)
    # A bias that is trained takes the other way.
    torch.testing.assert_close(SoftmaxAttend()(q, k, v, bias.clone().requires_grad_()), expected @ v)


def test_the_scale_replaces_the_default() -> None:
    q, k, v = qkv(2)
    expected = softmax(0.3 * q @ k.transpose(-1, -2)) @ v
    torch.testing.assert_close(SoftmaxAttend(scale=0.3)(q, k, v), expected)
    talking = TalkingHeadsAttend(HEADS, scale=0.3).double()
    torch.testing.assert_close(talking(q, k, v), expected)


@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_talking_heads_mix_before_and_after_the_softmax(lead: tuple[int, ...]) -> None:
    attend = stirred(TalkingHeadsAttend(HEADS))
    assert isinstance(attend, TalkingHeadsAttend)
    q, k, v = qkv(*lead)
    bias = torch.randn(HEADS, 5, 7, dtype=torch.float64)
    logits = torch.einsum("...hnd,...hmd->...hnm", q, k) / 2
    for given in (None, bias):
        mixed = torch.einsum("gh,...hnm->...gnm", attend.mix_logits.weight, logits)
        mixed = mixed + attend.mix_logits.bias[:, None, None] + (0 if given is None else given)
        weights = torch.einsum("gh,...hnm->...gnm", attend.mix_weights.weight, mixed.softmax(dim=-1))
        weights = weights + attend.mix_weights.bias[:, None, None]
        torch.testing.assert_close(attend.weights(q, k, given), weights)
        torch.testing.assert_close(attend(q, k, v, given), weights @ v)


def test_the_bias_of_mixed_logits_is_left_out_where_no_gradient_asks_for_it() -> None:
    """It is the same for every key: with it or without, the weights are the same, and its gradient is zero rather than missing."""
    attend = stirred(TalkingHeadsAttend(HEADS))
    assert isinstance(attend, TalkingHeadsAttend)
    q, k, v = qkv(2)
    y = attend(q, k, v)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v), y)
    (gradient,) = torch.autograd.grad(y.square().sum(), attend.mix_logits.bias)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_fresh_talking_heads_are_plain_attention() -> None:
    q, k, v = qkv(2)
    torch.testing.assert_close(TalkingHeadsAttend(HEADS).double()(q, k, v), SoftmaxAttend()(q, k, v))


def test_a_linear_start_of_the_mix_is_bounded_like_a_linear() -> None:
    mix = HeadMix(64, init_std=None)
    bound = 64**-0.5
    for parameter in (mix.weight, mix.bias):
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.5 * bound


def test_re_attention_mixes_and_normalises_the_weights() -> None:
    attend = stirred(ReAttend(HEADS, weight_scale=0.7))
    assert isinstance(attend, ReAttend)
    assert attend.norm.running_mean is not None
    assert attend.norm.running_var is not None
    attend.norm.running_mean.uniform_(-1, 1)
    attend.norm.running_var.uniform_(0.5, 2)
    q, k, v = qkv(2)
    weights = SoftmaxAttend().weights(q, k)
    mixed = torch.einsum("gh,bhnm->bgnm", attend.mix.weight, weights) + attend.mix.bias[:, None, None]
    mean, var, gain, shift = (
        t[:, None, None]
        for t in (attend.norm.running_mean, attend.norm.running_var, attend.norm.weight, attend.norm.bias)
    )
    expected = 0.7 * ((mixed - mean) / (var + 1e-5).sqrt() * gain + shift)
    torch.testing.assert_close(attend.weights(q, k), expected)
    torch.testing.assert_close(attend(q, k, v), expected @ v)


def test_re_attention_in_training_takes_statistics_per_head_over_groups_too() -> None:
    attend = ReAttend(HEADS).double().train()
    q, k, _ = qkv(2, 3)
    weights = attend.weights(q, k).transpose(0, 2).reshape(HEADS, -1)
    torch.testing.assert_close(weights.mean(dim=1), torch.zeros(HEADS, dtype=torch.float64), atol=1e-9, rtol=0)


def kernel_weights(attend: KernelAttend, q: Tensor, k: Tensor) -> Tensor:
    """Lemma 1 of the paper, one query and one key at a time."""
    scale = attend.factor(q) ** 0.5
    weights = torch.zeros(*q.shape[:-1], k.shape[-2], dtype=torch.float64)
    for b, h, n, m in torch.cartesian_prod(*(torch.arange(size) for size in weights.shape)).tolist():
        query, key = q[b, h, n] * scale, k[b, h, m] * scale
        terms = [torch.exp(w @ query - query @ query / 2 + w @ key - key @ key / 2) for w in attend.features]
        weights[b, h, n, m] = torch.stack(terms).mean()
    return weights / weights.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("features", [3, 16])
def test_kernel_attention_is_the_same_linear_or_quadratic(features: int) -> None:
    """With few features the plan takes keys and values first, with many queries and keys: both give the paper's formula."""
    attend = KernelAttend(4, features=features).double()
    q, k, v = qkv(2)
    expected = kernel_weights(attend, q, k)
    torch.testing.assert_close(attend.weights(q, k), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(attend(q, k, v), expected @ v, rtol=1e-6, atol=1e-7)


def test_many_kernel_features_reach_their_mean() -> None:
    """Features uniform on the sphere of radius 2 in 4 dimensions: exp(w . a) has the mean 2 I1(2 |a|) / (2 |a|)."""
    attend = KernelAttend(4, features=2**14).double()
    q, k, _ = qkv(1)
    query, key = q * 4**-0.25, k * 4**-0.25
    length = 2 * (query[..., :, None, :] + key[..., None, :, :]).norm(dim=-1)
    mean = 2 * torch.special.i1(length) / length
    kernel = mean * (-(query.square().sum(-1)[..., None] + key.square().sum(-1)[..., None, :]) / 2).exp()
    expected = kernel / kernel.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(attend.weights(q, k), expected, rtol=0.1, atol=0.005)


def test_features_are_orthogonal_in_blocks() -> None:
    features = orthogonal_features(10, 4)
    assert features.shape == (10, 4)
    for block in features.split(4):
        torch.testing.assert_close(block @ block.T, 4 * torch.eye(len(block)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [SoftmaxAttend, SmoothedSoftmaxAttend])
def test_dropout_zeroes_weights_and_scales_the_others(make: type[Attend]) -> None:
    attend = make(dropout=0.25).train()
    q, k, _ = qkv(64, n=16, m=16)
    values = attend(q, k, torch.eye(16, dtype=torch.float64).expand(64, HEADS, 16, 16))
    weights = attend.weights(q, k)
    dropped = values == 0
    torch.testing.assert_close(values[~dropped], weights[~dropped] / 0.75)
    assert 0.2 < dropped.double().mean() < 0.3
    attend.eval()
    torch.testing.assert_close(attend(q, k, torch.eye(16).double().expand(64, HEADS, 16, 16)), weights)


def test_talking_heads_drop_mixed_weights() -> None:
    attend = TalkingHeadsAttend(HEADS, dropout=0.25).double().train()
    q, k, _ = qkv(16, n=16, m=16)
    values = attend(q, k, torch.eye(16).double().expand(16, HEADS, 16, 16))
    dropped = values == 0
    torch.testing.assert_close(values[~dropped], attend.weights(q, k)[~dropped] / 0.75)
    assert 0.2 < dropped.double().mean() < 0.3


def test_folding_is_batch_major() -> None:
    x = torch.arange(2 * 3 * 4).reshape(2, 3, 4, 1, 1)
    assert torch.equal(fold_groups(x).flatten(), x.flatten())
    per_group = torch.randn(3, 1, 5, 7)
    like = torch.zeros(2, 3, HEADS, 5, 4)
    assert torch.equal(fold_bias(per_group, like), per_group.repeat(2, 1, 1, 1))
    assert fold_bias(torch.zeros(HEADS, 5, 7), like).shape == (1, HEADS, 5, 7)


def test_small_helpers() -> None:
    a = torch.ones(1)
    assert add_bias(None, None) is None
    assert add_bias(a, None) is a
    assert add_bias(None, a) is a
    assert add_bias(a, a) == 2
    assert mask_bias(torch.tensor([True, False]), torch.float32).tolist() == [0.0, float("-inf")]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1.0"):
        SoftmaxAttend(dropout=1.0)
    with pytest.raises(ValueError, match=r"dropout must be 0, got 0\.1"):
        KernelAttend(4, dropout=0.1)
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        KernelAttend(4, features=0)
    with pytest.raises(ValueError, match=r"a bias of shape \(7,\)"):
        KernelAttend(4).double().weights(*qkv(1)[:2], torch.zeros(7))
    with pytest.raises(NotImplementedError, match=r"Attend must define weights\(q, k, bias\)"):
        Attend().weights(*qkv(1)[:2])


def test_what_differs_from_the_default_is_shown() -> None:
    assert repr(SoftmaxAttend()) == "SoftmaxAttend()"
    assert repr(SoftmaxAttend(scale=0.5, dropout=0.1)) == "SoftmaxAttend(scale=0.5, dropout=0.1)"


def test_wide_values_and_fused_kernel_agree() -> None:
    q, k, v = qkv(2, 3, e=9)
    wide = SoftmaxAttend()(q, k, v)
    narrow = torch.cat([SoftmaxAttend()(q, k, F.pad(part, (0, 4 - part.shape[-1]))) for part in v.split(4, -1)], -1)
    torch.testing.assert_close(wide, narrow[..., :9])
