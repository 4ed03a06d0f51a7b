"""LeViT's own parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitblocks.position import DistanceBias
from vitblocks.zoo.levit import DownsamplingAttention, norm_head

DIM, HEADS, HEAD_DIM = 12, 3, 4


def tokens(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, DIM, dtype=torch.float64)


@pytest.mark.parametrize("stride", [2, (1, 3)])
def test_downsampling_attention_asks_with_every_other_token(stride: int | tuple[int, int]) -> None:
    down, right = (stride, stride) if isinstance(stride, int) else stride
    bias = DistanceBias(HEADS, (5, 4), stride=stride)
    attn = DownsamplingAttention(DIM, 10, HEADS, stride=stride, value_dim=6, position_bias=bias).double()
    with torch.no_grad():
        bias.table.normal_()
    x = tokens(20)
    y, grid = attn(x, (5, 4))
    places = [(i, j) for i in range(0, 5, down) for j in range(0, 4, right)]
    assert grid == (len(range(0, 5, down)), len(range(0, 4, right)))
    k, v = attn.kv(x).split([HEADS * HEAD_DIM, HEADS * 6], dim=-1)
    for number, (i, j) in enumerate(places):
        q = attn.q(x[:, i * 4 + j])
        heads = []
        for h in range(HEADS):
            part = slice(HEAD_DIM * h, HEAD_DIM * (h + 1))
            distances = [bias.table[h, abs(i - key // 4), abs(j - key % 4)] for key in range(20)]
            logits = (k[..., part] @ q[:, part, None])[..., 0] / HEAD_DIM**0.5 + torch.stack(distances)
            heads.append((logits.softmax(dim=-1)[:, None] @ v[..., 6 * h : 6 * h + 6])[:, 0])
        torch.testing.assert_close(y[:, number], attn.proj(torch.cat(heads, dim=-1)))


def test_downsampling_attention_refuses_prefix_tokens() -> None:
    with pytest.raises(ValueError, match="DownsamplingAttention takes no prefix tokens, got 1"):
        DownsamplingAttention(DIM, 10, HEADS).double()(tokens(21), (5, 4))


def test_a_stride_is_positive() -> None:
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        DownsamplingAttention(DIM, 8, HEADS, stride=0)


def test_a_head_may_norm_its_features() -> None:
    head, x = norm_head(8, 3, nn.LayerNorm), torch.randn(2, 8)
    linear = head.get_submodule("linear")
    torch.testing.assert_close(head(x), linear(nn.functional.layer_norm(x, (8,))))
    assert norm_head(8, 0)(x) is x
