"""Each attention kind against loops over what its docstring says, or against torch's own attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.attention import (
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    LocalWindowAttention,
    ReAttention,
    ReducedAttention,
    SoftmaxAttend,
    TalkingHeadsAttention,
    WindowAttention,
    Windows,
)
from vitblocks.attention.base import merge_heads, split_heads
from vitblocks.position import RelativeBias, Rotary2d

from .common import Recorder

DIM, HEADS, HEAD_DIM = 12, 3, 4


def tokens(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, DIM, dtype=torch.float64)


def torch_attention(attn: Any) -> nn.MultiheadAttention:
    """The same weights in torch's own module."""
    mha = nn.MultiheadAttention(DIM, HEADS, batch_first=True).double()
    assert mha.in_proj_weight is not None
    with torch.no_grad():
        mha.in_proj_weight.copy_(attn.qkv.weight)
        mha.in_proj_bias.copy_(attn.qkv.bias)
        mha.out_proj.weight.copy_(attn.proj.weight)
        mha.out_proj.bias.copy_(attn.proj.bias)
    return mha


def test_global_attention_is_torch_multi_head_attention() -> None:
    attn = GlobalAttention(DIM, HEADS).double()
    x = tokens(9)
    expected, _ = torch_attention(attn)(x, x, x, need_weights=False)
    torch.testing.assert_close(attn(x, (2, 4)), expected)


def test_class_attention_is_torch_multi_head_attention_of_the_prefix() -> None:
    attn: Any = ClassAttention(DIM, HEADS).double()
    fused: Any = GlobalAttention(DIM, HEADS).double()
    with torch.no_grad():
        fused.qkv.weight.copy_(torch.cat([attn.q.weight, attn.kv.weight]))
        fused.qkv.bias.copy_(torch.cat([attn.q.bias, attn.kv.bias]))
    fused.proj = attn.proj
    x = tokens(10)
    expected, _ = torch_attention(fused)(x[:, :2], x, x, need_weights=False)
    torch.testing.assert_close(attn(x, (2, 4))[:, :2], expected)


def test_a_position_bias_is_added_to_the_logits() -> None:
    bias = RelativeBias(HEADS, 3)
    attn = GlobalAttention(DIM, HEADS, position_bias=bias).double()
    x = tokens(10)
    mask = bias((3, 3), 1).detach().repeat(2, 1, 1)
    expected, _ = torch_attention(attn)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(attn(x, (3, 3)), expected)


def test_heads_are_cut_and_merged_head_major() -> None:
    x = torch.arange(12.0).reshape(1, 1, 12)
    assert split_heads(x, 3)[0, 1, 0].tolist() == [4, 5, 6, 7]
    assert torch.equal(merge_heads(split_heads(x, 3)), x)


def test_head_sizes_of_their_own() -> None:
    attn: Any = GlobalAttention(DIM, HEADS, head_dim=5, value_dim=7, qkv_bias=False).double()
    x = tokens(6)
    q, k, v = F.linear(x, attn.qkv.weight).split([15, 15, 21], dim=-1)
    heads = []
    for h in range(HEADS):
        query, key, value = q[..., 5 * h : 5 * h + 5], k[..., 5 * h : 5 * h + 5], v[..., 7 * h : 7 * h + 7]
        heads.append((query @ key.mT / 5**0.5).softmax(dim=-1) @ value)
    torch.testing.assert_close(attn(x, (2, 3)), attn.proj(torch.cat(heads, dim=-1)))


def windows_by_loop(attn: WindowAttention, x: Tensor, grid: tuple[int, int], window: tuple[int, int]) -> Tensor:
    """Crop each window, pieces at the edge as they are, and attend to the prefix and the crop."""
    prefix = x.shape[1] - grid[0] * grid[1]
    index = torch.arange(grid[0] * grid[1]).reshape(grid) + prefix
    out = attn.mix(x, (0, 0), x.shape[1])
    for top in range(0, grid[0], window[0]):
        for left in range(0, grid[1], window[1]):
            crop = index[top : top + window[0], left : left + window[1]].flatten()
            near = torch.cat([torch.arange(prefix), crop])
            out[:, crop] = attn.mix(x[:, near], (0, 0), len(near))[:, prefix:]
    return out


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", [(4, 6), (7, 5), (3, 3), (1, 8)])
def test_window_attention_is_global_attention_in_crops(grid: tuple[int, int], prefix: int) -> None:
    attn = LocalWindowAttention(DIM, HEADS, window=(2, 3)).double()
    x = tokens(prefix + grid[0] * grid[1])
    torch.testing.assert_close(attn(x, grid), windows_by_loop(attn, x, grid, (2, 3)))


@pytest.mark.parametrize("prefix", [0, 2])
def test_shifted_windows_are_crops_of_the_larger_map(prefix: int) -> None:
    """Windows that begin one row and two columns into the map, those at the edges cut off."""
    attn = LocalWindowAttention(DIM, HEADS, window=(2, 3), shift=(1, 2)).double()
    grid = (5, 7)
    x = tokens(prefix + 35)
    index = torch.arange(35).reshape(grid) + prefix
    expected = attn.mix(x, (0, 0), x.shape[1])
    for rows in ((0, 1), (1, 3), (3, 5)):
        for columns in ((0, 2), (2, 5), (5, 7)):
            crop = index[rows[0] : rows[1], columns[0] : columns[1]].flatten()
            near = torch.cat([torch.arange(prefix), crop])
            expected[:, crop] = attn.mix(x[:, near], (0, 0), len(near))[:, prefix:]
    torch.testing.assert_close(attn(x, grid), expected)


def test_dilated_attention_is_global_attention_on_sub_grids() -> None:
    attn = DilatedWindowAttention(DIM, HEADS, window=None, dilation=2).double()
    x = tokens(30)
    image, expected = x.unflatten(1, (5, 6)), torch.zeros(2, 5, 6, DIM, dtype=torch.float64)
    for i in range(2):
        for j in range(2):
            part = image[:, i::2, j::2]
            mixed = attn.mix(part.flatten(1, 2), (0, 0), part.shape[1] * part.shape[2])
            expected[:, i::2, j::2] = mixed.unflatten(1, part.shape[1:3])
    torch.testing.assert_close(attn(x, (5, 6)), expected.flatten(1, 2))


def test_positions_in_a_window_are_the_windows_own() -> None:
    bias = RelativeBias(HEADS, (2, 3))
    attn = LocalWindowAttention(DIM, HEADS, window=(2, 3), position_bias=bias).double()
    x = tokens(24)
    crop = torch.tensor([3, 4, 5, 9, 10, 11])
    torch.testing.assert_close(attn(x, (4, 6))[:, crop], attn.mix(x[:, crop], (2, 3)))


@pytest.mark.parametrize("options", [{"position_bias": RelativeBias(HEADS, 2)}, {"rotary": Rotary2d(HEAD_DIM)}])
@pytest.mark.parametrize("dilation", [1, 2])
def test_prefix_tokens_leave_the_logits_among_patches_as_they_are(options: dict[str, Any], dilation: int) -> None:
    attn = DilatedWindowAttention(DIM, HEADS, window=2, dilation=dilation, **options).double()
    recorder = Recorder(attn)
    x = tokens(3 + 16)
    attn(x[:, 3:], (4, 4))
    attn(x, (4, 4))
    alone, to_all, local = recorder.logits
    assert to_all.shape[-2:] == (3, 19)
    torch.testing.assert_close(local[..., 3:], alone)


def test_window_arguments() -> None:
    assert LocalWindowAttention(DIM, HEADS, window=7, shift=(0, 0)).windows == Windows(7)
    assert "windows=Windows(size=(2, 2), padding='masked')" in repr(WindowAttention(DIM, HEADS, windows=Windows(2)))


@pytest.mark.parametrize("prefix", [0, 2])
def test_reduced_attention_is_cross_attention_to_the_strided_map(prefix: int) -> None:
    attn = ReducedAttention(DIM, HEADS, reduction=(2, 3)).double()
    assert attn.reduce is not None
    assert attn.norm is not None
    x = tokens(prefix + 24)
    image = x[:, prefix:].mT.reshape(2, DIM, 4, 6)
    reduced = attn.norm(attn.reduce(image).flatten(2).mT)
    expected = attn.cross(x, torch.cat([x[:, :prefix], reduced], dim=1))
    torch.testing.assert_close(attn(x, (4, 6)), expected)


def test_reduced_attention_names_a_grid_too_small() -> None:
    with pytest.raises(ValueError, match=r"grid \(1, 6\) is smaller than the reduction \(2, 2\)"):
        ReducedAttention(DIM, HEADS, reduction=2).double()(tokens(6), (1, 6))


def test_a_reduction_of_one_has_no_convolution() -> None:
    attn = ReducedAttention(DIM, HEADS, reduction=1)
    assert {key.split(".")[0] for key in attn.state_dict()} == {"q", "kv", "proj"}


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutional_projections_are_depthwise_convolution_norm_linear(stride: int) -> None:
    attn = ConvProjectionAttention(DIM, HEADS, kv_stride=stride).double().eval()
    x = tokens(1 + 35)
    parts = []
    for projection, step in ((attn.q, 1), (attn.k, stride), (attn.v, stride)):
        image = x[:, 1:].mT.reshape(2, DIM, 7, 5)
        conv = F.conv2d(image, projection.conv.weight, stride=step, padding=1, groups=DIM)
        joined = torch.cat([x[:, :1], projection.norm(conv).flatten(2).mT], dim=1)
        parts.append(projection.linear(joined).unflatten(2, (HEADS, HEAD_DIM)).transpose(1, 2))
    q, k, v = parts
    # The whole embedding's width scales the logits.
    values = (q @ k.mT / DIM**0.5).softmax(dim=-1) @ v
    torch.testing.assert_close(attn(x, (7, 5)), attn.proj(values.transpose(1, 2).flatten(2)))


def test_convolutional_projections_take_an_attend_of_ones_own() -> None:
    assert ConvProjectionAttention(DIM, HEADS, attend=SoftmaxAttend(scale=0.5)).attend.scale == 0.5
    with pytest.raises(ValueError, match="kernel_size must be odd and positive, got 2"):
        ConvProjectionAttention(DIM, HEADS, kernel_size=2)


def test_named_kinds_pass_their_options_on() -> None:
    talking: Any = TalkingHeadsAttention(DIM, HEADS, attn_dropout=0.1, init_std=0.5, qkv_bias=False)
    assert talking.attend.dropout == 0.1
    assert not torch.equal(talking.attend.mix_logits.weight, torch.eye(HEADS))
    assert talking.qkv.bias is None
    re_attention: Any = ReAttention(DIM, HEADS, attn_dropout=0.2, weight_scale=2.0)
    assert re_attention.attend.dropout == 0.2
    assert re_attention.attend.weight_scale == 2.0


def test_dropout_follows_the_projection() -> None:
    attn = GlobalAttention(DIM, HEADS, dropout=0.5).double().train()
    y = attn(tokens(64), (8, 8))
    full = attn.eval()(tokens(64), (8, 8))
    assert 0.4 < (y == 0).double().mean() < 0.6
    assert not (full == 0).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GlobalAttention(10, 3), "dim 10 does not divide into 3 heads"),
        (lambda: GlobalAttention(10, 0), "heads must be at least 1, got 0"),
        (lambda: GlobalAttention(10, 2, head_dim=0), "head_dim must be at least 1, got 0"),
        (lambda: ReducedAttention(DIM, HEADS, reduction=0), "reduction must be at least 1, got 0"),
        (
            lambda: ClassAttention(DIM, HEADS).double()(tokens(4), (2, 2)),
            r"ClassAttention reads 1 prefix token\(s\), got 0",
        ),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
