"""Hiera."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from vitblocks import Hiera, LocalWindowAttention, Mlp, record_attention
from vitblocks.position import resize_table
from vitblocks.zoo.hiera import DoublingBlock, ExpandingBlock, QueryPoolingAttention

from .common import check_eager

ABSWIN: dict[str, Any] = {
    "position_grid": (3, 2),
    "resize": partial(resize_table, antialias=True),
    "pooling_block": DoublingBlock,
    "layer_scale": 0.5,
}


def tiny(**options: Any) -> Hiera:
    sizes = {"num_classes": 5, "dims": (8, 16, 32), "depths": (1, 2, 1), "heads": (1, 2, 4), "mlp_ratio": 2.0}
    units = {"window": 4, "in_units": (True, True, False), "query_pools": 2}
    return Hiera(**{"image_size": 32, **sizes, **units, **options})


@pytest.mark.parametrize("options", [{}, ABSWIN], ids=["plain", "abswin"])
def test_does_what_every_model_does(options: dict[str, Any]) -> None:
    """What compiles and exports is checked with the transformations."""
    check_eager(tiny(drop_path=0.1, **options), torch.randn(2, 3, 32, 48), classes=5)


def test_a_stage_begins_as_the_one_before_it_attended() -> None:
    model = tiny().eval()
    with record_attention(model) as records:
        model(torch.rand(1, 3, 32, 48))
    shapes = [tuple(record.weights.shape) for record in records]
    # Units of 4x4 tokens, 2x2 queries of 4x4 tokens in each, units of 2x2, and 1x1 query of 2x2 tokens in each.
    assert shapes == [(1, 6, 1, 16, 16), (1, 6, 2, 4, 16), (1, 6, 2, 4, 4), (1, 6, 4, 1, 4)]
    queries, keys = records[1].known()
    assert queries.grid == (4, 6)
    assert keys.grid == (8, 12)
    assert queries.ids[1].tolist() == [2, 3, 8, 9]
    assert keys.ids[1].tolist() == [row * 12 + column for row in range(4) for column in range(4, 8)]


def test_strides_and_maps() -> None:
    maps = tiny().feature_maps(torch.rand(1, 3, 32, 64))
    assert [found.stride for found in maps] == [(4, 4), (8, 8), (16, 16)]
    assert [tuple(found.map.shape) for found in maps] == [(1, 8, 8, 16), (1, 16, 4, 8), (1, 32, 2, 4)]


def test_queries_are_the_maxima_of_four() -> None:
    attn = QueryPoolingAttention(8, 12, 3).double()
    x = torch.randn(2, 6 * 4, 8, dtype=torch.float64)
    q, k, v = attn.qkv(x).chunk(3, dim=-1)
    q = rearrange(q, "b (h p w q) c -> b h w (p q) c", h=3, p=2, q=2).amax(dim=3)
    q, k, v = (rearrange(part.flatten(1, -2), "b n (h d) -> b h n d", h=3) for part in (q, k, v))
    expected = attn.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)"))
    found, grid = attn(x, (6, 4))
    assert grid == (3, 2)
    torch.testing.assert_close(found, expected)


def test_windows_at_the_edges_hold_what_is_there() -> None:
    """Columns of a narrow window are as if they stood alone."""
    attn = QueryPoolingAttention(8, 8, 2, window=4).double()
    x = torch.randn(1, 4 * 6, 8, dtype=torch.float64)
    edge = rearrange(x, "1 (h w) c -> 1 h w c", h=4)[:, :, 4:]
    found = rearrange(attn(x, (4, 6))[0], "1 (h w) c -> 1 h w c", h=2)[:, :, 2:]
    alone, _ = attn(rearrange(edge, "1 h w c -> 1 (h w) c"), (4, 2))
    torch.testing.assert_close(rearrange(found, "1 h w c -> 1 (h w) c"), alone)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stride \(2, 2\) must divide the window, got \(3, 3\)"):
        QueryPoolingAttention(8, 8, 2, window=3)
    with pytest.raises(ValueError, match="attn must double its 8 channels, it gives 12"):
        DoublingBlock(QueryPoolingAttention(8, 12, 2), Mlp(12))
    with pytest.raises(TypeError, match="attn must be a QueryPoolingAttention, got a LocalWindowAttention"):
        ExpandingBlock(LocalWindowAttention(8, 2), Mlp(8))
    with pytest.raises(ValueError, match="query_pools must be less than the 3 stages, got 3"):
        tiny(query_pools=3)
    with pytest.raises(ValueError, match="every stage must have a block"):
        tiny(depths=(1, 0, 1))


def test_branches_start_small() -> None:
    model = tiny(depths=(1, 1, 9))
    first, *_, last = (block.mlp.fc2 for _, block in model.blocks())
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    torch.testing.assert_close(first.weight.std() / last.weight.std(), torch.tensor(11.0**0.5), rtol=0.1, atol=0)
    assert isinstance(model.head, nn.Linear)
    assert model.head.weight.abs().max() < 1e-4
