"""Each attention kind against loops over what its docstring says, or against torch's own attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.attention import (
    Attend,
    ClassAttention,
    ConvProjectionAttention,
    DilatedWindowAttention,
    GlobalAttention,
    LocalWindowAttention,
    ReAttention,
    ReducedAttention,
    SelfAttention,
    SoftmaxAttend,
    TalkingHeadsAttention,
    WindowAttention,
    Windows,
)
from vitblocks.attention.base import merge_heads, split_heads
from vitblocks.block import Block
from vitblocks.feedforward import Mlp
from vitblocks.position import DistanceBias, RelativeBias, Rotary2d
from vitblocks.residual import Residual
from vitblocks.zoo.levit import DownsamplingAttention
from vitblocks.zoo.mobile_vit import Interleaved, ResizeToMultiple
from vitblocks.zoo.regionvit import RegionalAttention

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


class Recorder:
    """The logits that a module's Attend formed."""

    def __init__(self, attn: SelfAttention) -> None:
        self.logits: list[Tensor] = []
        attn.attend.register_forward_pre_hook(self.record)

    def record(self, attend: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(attend, Attend)
        q, k, _, bias = (*inputs, None)[:4]
        self.logits.append(attend.logits(q, k, bias))


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
    assert "windows=Windows(size=(2, 2))" in repr(WindowAttention(DIM, HEADS, windows=Windows(2)))


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


@pytest.mark.parametrize("grid", [(4, 6), (5, 4)])
def test_regional_attention_is_global_attention_of_a_window_and_its_token(grid: tuple[int, int]) -> None:
    attn = RegionalAttention(DIM, HEADS, window=(2, 3)).double()
    tops, lefts = range(0, grid[0], 2), range(0, grid[1], 3)
    regions = len(tops) * len(lefts)
    x = tokens(regions + grid[0] * grid[1])
    index = torch.arange(grid[0] * grid[1]).reshape(grid) + regions
    expected = torch.zeros_like(x)
    for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        crop = index[top : top + 2, left : left + 3].flatten()
        together = torch.cat([torch.tensor([number]), crop])
        expected[:, together] = attn.mix(x[:, together], (0, 0), len(together))
    torch.testing.assert_close(attn(x, grid), expected)
    regional = attn(x[:, :regions], (0, 0))
    torch.testing.assert_close(regional, attn.mix(x[:, :regions], (0, 0), regions))


def test_the_position_bias_of_a_region_is_among_its_own_tokens() -> None:
    bias = RelativeBias(HEADS, 2)
    attn = RegionalAttention(DIM, HEADS, window=2, position_bias=bias).double()
    recorder = Recorder(attn)
    x = tokens(1 + 4)
    attn(x, (2, 2))
    q, k, _ = attn.project(x, (0, 0))
    expected = q @ k.mT / HEAD_DIM**0.5
    expected[..., 1:, 1:] += bias((2, 2))
    torch.testing.assert_close(recorder.logits[0][:, 0], expected)


def test_interleaved_layers_run_on_strided_slices() -> None:
    layers = [Block(DIM, GlobalAttention(DIM, HEADS), Mlp(DIM)), Residual(DIM, LocalWindowAttention(DIM, HEADS))]
    layer = Interleaved(layers, (2, 3)).double()
    x = tokens(24)
    image, expected = x.unflatten(1, (4, 6)), torch.zeros(2, 4, 6, DIM, dtype=torch.float64)
    for i in range(2):
        for j in range(3):
            part = image[:, i::2, j::3].flatten(1, 2)
            for inner in layers:
                part = inner(part, (2, 2))
            expected[:, i::2, j::3] = part.unflatten(1, (2, 2))
    torch.testing.assert_close(layer(x, (4, 6)), expected.flatten(1, 2))


def test_interleaved_layers_name_what_they_cannot_take() -> None:
    layer = Interleaved([Mlp(DIM)], 2).double()
    with pytest.raises(ValueError, match="Interleaved takes no prefix tokens, got 1"):
        layer(tokens(17), (4, 4))
    with pytest.raises(ValueError, match=r"grid \(3, 4\) does not divide into sub-grids \(2, 2\) apart"):
        layer(tokens(12), (3, 4))


def test_a_layer_may_run_on_a_map_resized_to_a_multiple() -> None:
    layer = ResizeToMultiple(Interleaved([Mlp(DIM)], 2), 2).double()
    x = tokens(15)
    image = F.interpolate(x.mT.reshape(2, DIM, 3, 5), size=(4, 6), mode="bilinear")
    inner = layer.layer(image.flatten(2).mT, (4, 6))
    back = F.interpolate(inner.mT.reshape(2, DIM, 4, 6), size=(3, 5), mode="bilinear")
    torch.testing.assert_close(layer(x, (3, 5)), back.flatten(2).mT)
    x = tokens(24)
    assert torch.equal(layer(x, (4, 6)), layer.layer(x, (4, 6)))


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
        (lambda: DownsamplingAttention(DIM, 8, HEADS, stride=0), "stride must be at least 1, got 0"),
        (lambda: Interleaved([], 0), "dilation must be at least 1, got 0"),
        (
            lambda: ClassAttention(DIM, HEADS).double()(tokens(4), (2, 2)),
            r"ClassAttention reads 1 prefix token\(s\), got 0",
        ),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
