"""Adaptive token sampling against a loop written from its description, and the promises about padding."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from vitblocks.attention import GlobalAttention
from vitblocks.feedforward import Mlp
from vitblocks.position import RelativeBias
from vitblocks.prefix import PerToken
from vitblocks.testing import check_transition, influence
from vitblocks.zoo.ats_vit import (
    DROPPED,
    AdaptiveSampling,
    KeepPadding,
    SampledBlock,
    SmoothedSoftmaxAttend,
    TokenSampler,
    TrimPadding,
    original_ids,
)
from vitblocks.zoo.ats_vit.parts import stable_sort

DIM, HEADS = 8, 2


def sample(scores: list[float], samples: int) -> list[int]:
    """The docstring of TokenSampler, one image and one point at a time."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    cdf, total = [], 0.0
    for i in order:
        total += scores[i]
        cdf.append(total)
    lowest, highest = cdf[0], cdf[-1]
    cdf = [(c - lowest) / (highest - lowest) if highest > lowest else 0.0 for c in cdf]
    start = min([c for c in cdf if c > 0], default=1.0)
    picks: list[int] = []
    for step in range(samples):
        point = start + (1 - start) * step / (samples - 1)
        nearest = min(range(len(cdf)), key=lambda place: abs(point - cdf[place]))
        if order[nearest] not in picks:
            picks.append(order[nearest])
    return picks + [DROPPED] * (min(samples, len(scores)) - len(picks))


scores = st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(scores, st.integers(2, 15), st.integers(0, 3))
def test_the_sampler_does_what_it_says(drawn: list[float], samples: int, padding: int) -> None:
    """Padding scores nothing, and is never picked."""
    total = sum(drawn)
    given_scores = [0.0] * padding + [score / total for score in drawn]
    ids = TokenSampler(samples)(torch.tensor([given_scores], dtype=torch.float64))[0].tolist()
    # Where two picks are equally near, rounding decides: only distances must agree then, so ties are passed over.
    expected = sample(given_scores, samples)
    if not tied(given_scores, samples):
        assert ids == expected
    kept = [i for i in ids if i != DROPPED]
    assert len(set(kept)) == len(kept)
    assert ids == kept + [DROPPED] * (len(ids) - len(kept))
    if padding and len(drawn) > 1:
        assert not set(kept) & set(range(padding))


def tied(given_scores: list[float], samples: int) -> bool:
    """Whether a point lies as near to one place as to another, or two patches score alike."""
    ordered = sorted(given_scores)
    if len(given_scores) > 1 and min(b - a for a, b in pairwise(ordered)) < 1e-9:
        return True
    cdf = torch.tensor(ordered, dtype=torch.float64).cumsum(0)
    cdf = (cdf - cdf[0]) / (cdf[-1] - cdf[0]).clamp(min=1e-300)
    start = min([float(c) for c in cdf if c > 0], default=1.0)
    points = start + (1 - start) * torch.linspace(0, 1, samples, dtype=torch.float64)
    nearest = (points[:, None] - cdf[None]).abs().sort(dim=1).values
    return len(given_scores) > 1 and bool((nearest[:, 1] - nearest[:, 0] < 1e-9).any())


@pytest.mark.parametrize("values", [1, 3, 50])
def test_equal_values_keep_their_order(values: int) -> None:
    x = torch.randint(values, (4, 40)).double()
    for found, right in zip(stable_sort(x), x.sort(dim=1, stable=True), strict=True):
        assert torch.equal(found, right)


def test_duplicates_are_what_reduces() -> None:
    """One patch that holds nearly everything takes nearly every point."""
    ids = TokenSampler(8)(torch.tensor([[0.01, 0.9, 0.02, 0.03, 0.04]]))[0]
    assert ids.shape == (5,)
    assert ids[-1] == DROPPED
    assert 1 in ids.tolist()
    alike = TokenSampler(5)(torch.full((1, 6), 1 / 6))[0]
    assert (alike != DROPPED).all()


def test_images_are_sampled_alone_and_in_order_of_score() -> None:
    drawn = torch.rand(3, 9)
    sampler = TokenSampler(6)
    ids = sampler(drawn)
    for row, values in zip(ids, drawn, strict=True):
        assert torch.equal(row, sampler(values[None])[0])
        kept = values[row[row != DROPPED]]
        assert torch.equal(kept, kept.sort().values)


def test_half_precision_scores_are_summed_in_single() -> None:
    drawn = torch.rand(2, 64).bfloat16()
    assert torch.equal(TokenSampler(16)(drawn), TokenSampler(16)(drawn.float()))


def sampling(samples: int = 5, attend: SmoothedSoftmaxAttend | None = None) -> AdaptiveSampling:
    attn = GlobalAttention(DIM, HEADS, attend=attend)
    return AdaptiveSampling(DIM, attn, samples).double().eval()


def images(prefix: int = 1, patches: int = 12, batch: int = 3) -> Tensor:
    return torch.randn(batch, prefix + patches, DIM, dtype=torch.float64)


def test_sampling_keeps_the_contract_of_transitions() -> None:
    """In float64 alone: a lower precision may pick other tokens."""
    check_transition(
        lambda: AdaptiveSampling(DIM, GlobalAttention(DIM, HEADS), 5),
        DIM,
        grids=[(4, 3), (7,)],
        prefix=(1, 3),
        refuses=(0,),
        dtypes=[torch.float64],
    )


def test_sampled_rows_are_the_rows_of_a_plain_attention_block() -> None:
    layer, x = sampling(), images(prefix=2)
    ids: list[Tensor] = []
    layer.sampler.register_forward_hook(lambda module, inputs, output: ids.append(output))
    y, grid = layer(x, (4, 3))
    assert grid == (5,)
    full = x + layer.attn(layer.norm(x), (4, 3))
    for image, row, kept in zip(y, full, ids[0], strict=True):
        torch.testing.assert_close(image[:2], row[:2])
        for place, i in enumerate(kept.tolist()):
            expected = torch.zeros(DIM).double() if i == DROPPED else row[2 + i]
            torch.testing.assert_close(image[2 + place], expected)


def test_scores_are_the_class_tokens_attention_times_the_values_length() -> None:
    layer, x = sampling(), images()
    q, k, v = layer.attn.project(x, (4, 3))
    expected = torch.zeros(3, 12).double()
    for b in range(3):
        for patch in range(12):
            seen = [(q[b, h, 0] @ k[b, h].T / 2).softmax(dim=0)[1 + patch] for h in range(HEADS)]
            expected[b, patch] = torch.stack(seen).sum() * v[b, :, 1 + patch].norm()
    torch.testing.assert_close(layer.scores(q, k, v, None, 1), expected / expected.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("bias", [None, RelativeBias(HEADS, 4)])
def test_padding_changes_nothing_for_real_tokens_and_stays_zero(bias: RelativeBias | None) -> None:
    attn = GlobalAttention(DIM, HEADS, position_bias=bias)
    block = SampledBlock(DIM, attn, Mlp(DIM)).double().eval()
    grid = (3, 4)
    x = images()
    x[:, 9:] = 0.0
    y = block(x, grid)
    assert (y[:, 9:] == 0).all()
    matrix = influence(block, x, grid)
    assert not matrix[:9, 9:].any()
    assert matrix[:9, :9].all()
    if bias is None:
        torch.testing.assert_close(block(x[:, :9], (8,)), y[:, :9])


def test_sampling_again_never_picks_padding_and_more_of_it_changes_nothing() -> None:
    first, second = sampling(16), sampling(4)
    x, grid = first(images(patches=16), (4, 4))
    padding = (x == 0).all(dim=-1)
    assert padding.any(dim=1).all(), "every image must have padding"
    ids: list[Tensor] = []
    second.sampler.register_forward_hook(lambda module, inputs, output: ids.append(output))
    y, kept = second(x, grid)
    for pick, empty in zip(ids[0], padding[:, 1:], strict=True):
        assert not empty[pick[pick != DROPPED]].any()
    more = torch.cat([x, torch.zeros_like(x[:, :3])], dim=1)
    z, again = second(more, (grid[0] + 3,))
    assert again == kept == (4,)
    torch.testing.assert_close(z, y)


def test_ids_of_several_samplers_lead_back_to_the_image() -> None:
    first, second = torch.tensor([[4, 2, 7, DROPPED]]), torch.tensor([[2, 0, DROPPED]])
    assert original_ids([first, second]).tolist() == [[7, 4, DROPPED]]
    assert original_ids([first]).tolist() == first.tolist()


def test_a_layer_may_be_kept_off_the_padding() -> None:
    x = images()
    x[:, 9:] = 0.0
    norm = nn.LayerNorm(DIM).double()
    nn.init.ones_(norm.bias)
    y = KeepPadding(PerToken(norm))(x, (12,))
    assert (y[:, 9:] == 0).all()
    torch.testing.assert_close(y[:, :9], norm(x[:, :9]))


def test_training_keeps_padding_zero_too() -> None:
    layer = AdaptiveSampling(DIM, GlobalAttention(DIM, HEADS), 16, drop_path=0.5).double().train()
    block = SampledBlock(DIM, GlobalAttention(DIM, HEADS, dropout=0.5), Mlp(DIM, dropout=0.5), drop_path=0.5)
    x, grid = layer(images(patches=16), (4, 4))
    padding = (x == 0).all(dim=-1)
    assert padding.any(), "the case must have padding"
    assert (block.double().train()(x, grid)[padding] == 0).all()


def test_trimming_drops_what_is_padding_in_every_image() -> None:
    x = images(patches=6, batch=2)
    x[0, 4:] = 0.0
    x[1, 6:] = 0.0
    y, grid = TrimPadding()(x, (6,))
    assert grid == (5,)
    assert torch.equal(y, x[:, :6])


def test_trimming_moves_logits_only_by_the_smoothing() -> None:
    attn = GlobalAttention(DIM, HEADS, attend=SmoothedSoftmaxAttend())
    block = SampledBlock(DIM, attn, Mlp(DIM)).double().eval()
    x = images(patches=6)
    x[:, 5:] = 0.0
    trimmed, grid = TrimPadding()(x, (6,))
    torch.testing.assert_close(block(trimmed, grid), block(x, (6,))[:, :5], rtol=1e-5, atol=1e-5)


def test_a_class_token_is_needed() -> None:
    with pytest.raises(ValueError, match=r"AdaptiveSampling reads 1 prefix token\(s\), got 0"):
        sampling()(images(0), (4, 3))
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        TokenSampler(1)
