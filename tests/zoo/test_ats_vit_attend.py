"""ATS's smoothed softmax against its formula written out."""

from __future__ import annotations

import torch

from vitblocks.attention import SoftmaxAttend
from vitblocks.zoo.ats_vit import SmoothedSoftmaxAttend

from ..attention.common import HEADS, qkv


def test_smoothed_softmax_keeps_a_little_weight_for_every_key() -> None:
    q, k, _ = qkv(2)
    logits = q @ k.transpose(-1, -2) / 2
    e = (logits - logits.amax(dim=-1, keepdim=True)).exp()
    expected = (e + 0.01 / 7) / (e.sum(dim=-1, keepdim=True) + 0.01)
    attend = SmoothedSoftmaxAttend(eps=0.01)
    torch.testing.assert_close(attend.weights(q, k), expected)
    torch.testing.assert_close(attend.weights(q, k).sum(dim=-1), torch.ones(2, HEADS, 5, dtype=torch.float64))
    plain = SmoothedSoftmaxAttend(eps=0.0).weights(q, k)
    torch.testing.assert_close(plain, SoftmaxAttend().weights(q, k))


def test_smoothed_softmax_survives_a_large_bias() -> None:
    q, k, v = qkv(2)
    bias = torch.zeros(7, dtype=torch.float64)
    bias[3] = 2000.0
    torch.testing.assert_close(SmoothedSoftmaxAttend()(q, k, v, bias)[:, :, 0], v[:, :, 3], rtol=1e-4, atol=1e-4)


def test_smoothed_softmax_does_not_lose_its_epsilon_in_half_precision() -> None:
    q, k, _ = (part.bfloat16() for part in qkv(2))
    hidden = torch.zeros(7, dtype=torch.bfloat16)
    hidden[1:] = float("-inf")
    weights = SmoothedSoftmaxAttend().weights(q, k, hidden)
    assert (weights[..., 1:] > 0).all()
