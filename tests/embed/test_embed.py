"""Embedders and downsamplers against torch's unfold and against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks.embed import (
    CompactStem,
    ConvDownsample,
    ConvEmbed,
    ConvStem,
    Downsample,
    InvertedResidual,
    LinearEmbed,
    MapEmbed,
    OnMap,
    PatchMerging,
)
from vitblocks.embed.adaptors import map_stride
from vitblocks.embed.inverted_residual import make_divisible
from vitblocks.grid import Size, to_map, to_tokens
from vitblocks.norm import LayerNorm
from vitblocks.zoo.crossformer import CrossScaleConv
from vitblocks.zoo.deepvit import PatchStem
from vitblocks.zoo.nest import BlockAggregation, SameMaxPool2d
from vitblocks.zoo.pit import PoolingDownsample
from vitblocks.zoo.t2t import Unfold, UnfoldEmbed

DIM = 8


def image(height: int = 12, width: int = 8, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, height, width, dtype=torch.float64)


@pytest.mark.parametrize("patch", [4, (2, 4), (3, 1)])
def test_linear_embed_reads_pixels_row_column_channel(patch: Size) -> None:
    embed, x = LinearEmbed(patch, DIM).double(), image()
    rows, columns = embed.patch_size
    tokens, grid = embed(x)
    assert grid == (12 // rows, 8 // columns)
    for number in range(grid[0] * grid[1]):
        top, left = number // grid[1] * rows, number % grid[1] * columns
        pixels = [x[:, :, top + i, left + j] for i in range(rows) for j in range(columns)]
        torch.testing.assert_close(tokens[:, number], embed.proj(torch.cat(pixels, dim=1)))


@pytest.mark.parametrize("patch", [4, (2, 4)])
def test_conv_embed_equals_linear_embed_with_its_pixels_in_order(patch: Size) -> None:
    conv: Any = ConvEmbed(patch, DIM).double()
    linear: Any = LinearEmbed(patch, DIM).double()
    x = image()
    with torch.no_grad():
        linear.proj.weight.copy_(conv.conv.weight.permute(0, 2, 3, 1).flatten(1))
        linear.proj.bias.copy_(conv.conv.bias)
    torch.testing.assert_close(conv(x)[0], linear(x)[0])
    assert conv(x)[1] == linear(x)[1]


def test_conv_embed_may_overlap() -> None:
    embed: Any = ConvEmbed(3, DIM, stride=2, padding=1, norm=nn.LayerNorm(DIM)).double()
    x = image(7, 9)
    tokens, grid = embed(x)
    expected = F.conv2d(x, embed.conv.weight, embed.conv.bias, stride=2, padding=1)
    assert grid == (4, 5)
    torch.testing.assert_close(tokens, embed.norm(expected.flatten(2).mT))


def test_images_are_put_in_channels_last_once() -> None:
    """Then a map made of the tokens is a view, and so are the tokens of a map."""
    tokens, grid = ConvEmbed(4, DIM).double()(image())
    assert tokens.is_contiguous()
    view = to_map(tokens, grid)
    assert view.data_ptr() == tokens.data_ptr()
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert to_tokens(view)[0].data_ptr() == tokens.data_ptr()


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 4, 2), (3, 2, 1), ((3, 5), (1, 2), (1, 2)), (2, 2, 0)])
def test_unfold_is_torch_unfold_with_half_the_overlap_as_padding(kernel: Size, stride: Size, padding: Size) -> None:
    x = image(13, 9)
    tokens, grid = UnfoldEmbed(kernel, stride)(x)
    expected = F.unfold(x, kernel, padding=padding, stride=stride).mT
    assert torch.equal(tokens, expected)
    assert grid[0] * grid[1] == expected.shape[1]
    assert torch.equal(Unfold(kernel, stride)(*to_tokens(x))[0], expected)
    assert UnfoldEmbed(kernel, stride).stride == ((stride, stride) if isinstance(stride, int) else stride)


def test_cross_scale_convolution_puts_scales_side_by_side() -> None:
    conv, x = CrossScaleConv(3, 20, (4, 8, 16), stride=4).double(), image(16, 8)
    assert [c.out_channels for c in conv.convs if isinstance(c, nn.Conv2d)] == [10, 5, 5]
    y = conv(x)
    assert y.shape == (2, 20, 4, 2)
    # Each scale is centred on the patch: a kernel of 8 reaches 2 pixels beyond a patch of 4.
    wide: Any = conv.convs[1]
    padded = F.pad(x, (2, 2, 2, 2))
    window = padded[:, :, 4:12, 0:8]
    expected = torch.einsum("bcij,ocij->bo", window, wide.weight) + wide.bias
    torch.testing.assert_close(y[:, 10:15, 1, 0], expected)


def test_patch_merging_orders_neighbours_by_column_then_row() -> None:
    merge = PatchMerging(DIM, 5).double()
    x = torch.randn(2, 4 * 6, DIM, dtype=torch.float64)
    y, grid = merge(x, (4, 6))
    assert grid == (2, 3)
    for i in range(2):
        for j in range(3):
            around = [(2 * i + di) * 6 + 2 * j + dj for di, dj in ((0, 0), (1, 0), (0, 1), (1, 1))]
            expected = merge.proj(merge.norm(torch.cat([x[:, place] for place in around], dim=-1)))
            torch.testing.assert_close(y[:, i * 3 + j], expected)


def test_conv_downsample_and_its_prefix() -> None:
    down: Any = ConvDownsample(DIM, 5, 3, stride=2, padding=1, prefix=nn.Linear(DIM, 5)).double()
    x = torch.randn(2, 2 + 7 * 4, DIM, dtype=torch.float64)
    y, grid = down(x, (7, 4))
    assert grid == (4, 2)
    assert down.prefix is not None
    torch.testing.assert_close(y[:, :2], down.prefix(x[:, :2]))
    maps = F.conv2d(x[:, 2:].mT.reshape(2, DIM, 7, 4), down.conv.weight, down.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(y[:, 2:], down.norm(maps.flatten(2).mT))


def test_pooling_downsample_keeps_channels_apart() -> None:
    """A channel of the input reaches two of the output."""
    down = PoolingDownsample(DIM, 2 * DIM).double()
    x = torch.zeros(1, 1 + 16, DIM, dtype=torch.float64)
    base, _ = down(x, (4, 4))
    x[:, 1:, 3] = 1.0
    changed = (down(x, (4, 4))[0] != base)[0, 1:].any(dim=0)
    assert changed.nonzero().flatten().tolist() == [6, 7]


def test_block_aggregation_halves_and_rounds_up() -> None:
    down: Any = BlockAggregation(DIM, 5).double()
    x = torch.randn(1, 35, DIM, dtype=torch.float64)
    y, grid = down(x, (7, 5))
    assert grid == (4, 3)
    assert down.stride == (2, 2)
    maps = to_map(x, (7, 5))
    conv = down.conv[0](maps).permute(0, 2, 3, 1)
    normed = down.conv[1].norm(conv).permute(0, 3, 1, 2)
    torch.testing.assert_close(y, SameMaxPool2d(3, 2)(normed).flatten(2).mT)


@pytest.mark.parametrize(("side", "rows"), [(4, [(0, 3), (2, 4)]), (5, [(0, 2), (1, 4), (3, 5)])])
def test_same_pooling_pads_more_at_the_bottom_and_right(side: int, rows: list[tuple[int, int]]) -> None:
    x = -torch.rand(1, 1, side, side)  # Below zero, so that padding with zeros would show.
    y = SameMaxPool2d(3, 2)(x)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(rows):
            assert y[0, 0, i, j] == x[0, 0, top:bottom, left:right].max()


@pytest.mark.parametrize(
    ("make", "size", "stride"),
    [
        (lambda: ConvStem((4, 6, DIM)), (3, 2), 8),
        (lambda: PatchStem(8, DIM, width=6), (2, 2), 8),
        (lambda: CompactStem(DIM, convs=2, width=6), (2, 1), 16),
        (lambda: ConvEmbed(4, DIM), (4, 4), 4),
        (lambda: MapEmbed(CrossScaleConv(3, DIM, (4, 8), stride=4)), (4, 4), 4),
    ],
)
def test_strides_are_those_of_the_chain(make: Any, size: tuple[int, int], stride: int) -> None:
    embed = make().double().eval()
    x = image(24 if stride == 8 and size == (3, 2) else 16, 16)
    tokens, grid = embed(x)
    assert embed.stride == (stride, stride)
    assert tokens.shape == (2, grid[0] * grid[1], DIM)
    assert grid == (-(-x.shape[2] // stride), -(-x.shape[3] // stride))


def test_conv_stem_has_no_activation_at_its_end() -> None:
    stem: Any = ConvStem((4, DIM))
    assert [hasattr(unit, "act") for unit in stem.conv] == [True, False]


def test_map_strides_multiply_along_a_chain() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Sequential(nn.MaxPool2d(3, (1, 3))))
    assert map_stride(chain) == (2, 6)
    assert map_stride(nn.ReLU()) == (1, 1)


def test_inverted_residuals_add_their_input_where_the_shape_is_kept() -> None:
    same = InvertedResidual(DIM, DIM).double().eval()
    x = image(5, 4, DIM)
    nn.init.zeros_(same.project.conv.weight)
    torch.testing.assert_close(same(x), x)
    assert InvertedResidual(DIM, DIM, stride=2).double().eval()(x).shape == (2, DIM, 3, 2)
    assert not InvertedResidual(DIM, 5).has_shortcut
    assert [make_divisible(c) for c in (1, 12, 17, 24, 90)] == [8, 16, 16, 24, 88]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: LinearEmbed(5, DIM).double()(x),
            r"a size of \(12, 8\) does not divide into patches of \(5, 5\): \(10, 5\) or \(15, 10\) would",
        ),
        (lambda x: ConvEmbed(16, DIM).double()(x), r"\(16, 16\) or \(16, 16\) would"),
        (lambda x: LinearEmbed(4, DIM, channels=1).double()(x), "image must have 1 channels, got 3"),
        (
            lambda x: ConvEmbed(4, DIM).double()(x[0]),
            r"image must be \(batch, channels, height, width\), got shape \(3, 12, 8\)",
        ),
        (lambda x: UnfoldEmbed(20, 4, 0)(x), r"a size of \(12, 8\) is smaller than the kernel \(20, 20\)"),
        (lambda x: CrossScaleConv(3, DIM, stride=5), r"kernel_sizes must exceed the stride 5 by even numbers"),
        (lambda x: CrossScaleConv(3, DIM, ()), r"kernel_sizes must exceed"),
        (lambda x: CrossScaleConv(3, DIM).double()(x[..., :6]), r"a size of \(12, 6\) does not divide"),
        (lambda x: PoolingDownsample(8, 12), "out_dim must be a multiple of dim 8, got 12"),
        (lambda x: PatchStem(7, DIM), "patch_size must be even, got 7"),
        (lambda x: ConvStem(()), "widths must name at least one convolution"),
        (lambda x: CompactStem(DIM, convs=0), "convs must be at least 1, got 0"),
        (lambda x: ConvEmbed(0, DIM), "patch_size must be at least 1, got 0"),
        (
            lambda x: PatchMerging(3).double()(x.flatten(2).mT, (8, 12, 1)),
            r"needs tokens on an \(H, W\) grid",
        ),
        (
            lambda x: PatchMerging(3).double()(x[:, :, :3].flatten(2).mT, (3, 8)),
            r"\(3, 8\) does not divide into patches of \(2, 2\)",
        ),
        (
            lambda x: Downsample(nn.Conv2d(3, 3, 2, 2)).double()(x.flatten(2).mT, (11, 8)),
            r"x carries 8 prefix token\(s\) that this Downsample cannot place",
        ),
        (
            lambda x: OnMap(nn.Conv2d(3, 3, 2, 2)).double()(x.flatten(2).mT, (12, 8)),
            r"a layer must keep the grid \(12, 8\), Conv2d gave \(6, 4\)",
        ),
        (
            lambda x: OnMap(nn.Conv2d(3, 4, 1)).double()(x.flatten(2).mT, (11, 8)),
            "prefix tokens have 3 channels, the patches now 4",
        ),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(image())


def test_on_map_is_the_module_on_the_map() -> None:
    conv = nn.Conv2d(DIM, DIM, 3, padding=1).double()
    x = torch.randn(2, 1 + 15, DIM, dtype=torch.float64)
    expected = conv(x[:, 1:].mT.reshape(2, DIM, 3, 5)).flatten(2).mT
    torch.testing.assert_close(OnMap(conv)(x, (3, 5)), torch.cat([x[:, :1], expected], dim=1))
    assert torch.equal(OnMap(conv)(x[:, :1], (0, 0)), x[:, :1])


def test_norms_of_downsamplers_are_parts() -> None:
    down = ConvDownsample(DIM, 5, norm=LayerNorm)
    assert isinstance(down.norm, nn.LayerNorm)
    assert down.norm.eps == 1e-6
