"""Embedders and downsamplers against torch's unfold and against each other."""

from __future__ import annotations

from functools import partial
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
    OnSequence,
    PatchMerging,
)
from vitblocks.embed.adaptors import map_stride, sliding_grid
from vitblocks.embed.inverted_residual import make_divisible
from vitblocks.grid import Grid, Size, to_map, to_tokens
from vitblocks.norm import LayerNorm
from vitblocks.testing import check_layer
from vitblocks.zoo.crossformer import CrossScaleConv
from vitblocks.zoo.deepvit import PatchStem
from vitblocks.zoo.t2t import UnfoldEmbed

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


def test_patch_merging_pads_maps_that_do_not_divide() -> None:
    merge = PatchMerging(DIM, 5, patch_size=(2, 3)).double()
    x = torch.randn(2, 3 * 4, DIM, dtype=torch.float64)
    y, grid = merge(x, (3, 4))
    padded = F.pad(to_map(x, (3, 4)), (0, 2, 0, 1))
    assert grid == (2, 2)
    torch.testing.assert_close(y, merge(*to_tokens(padded))[0])


@pytest.mark.parametrize(
    "make", [lambda **options: ConvEmbed((4, 3), DIM, **options), partial(ConvDownsample, 3, DIM, 4)]
)
def test_what_fills_no_whole_patch_is_padded_or_left_out(make: Any) -> None:
    x = image(13, 10)

    def given(remainder: str, x: Tensor) -> tuple[Tensor, Grid]:
        torch.manual_seed(0)
        module = make(remainder=remainder).double()
        return module(x) if isinstance(module, ConvEmbed) else module(*to_tokens(x))

    step = given("drop", x)[1]
    rows, columns = step[0], step[1]
    padded, grid = given("pad", x)
    assert grid == (rows + 1, columns + 1)
    whole = F.pad(x, (0, 12 - 10, 0, 16 - 13))
    torch.testing.assert_close(padded, given("refuse", whole)[0])
    dropped, _ = given("drop", x)
    torch.testing.assert_close(dropped, to_tokens(to_map(padded, grid)[:, :, :rows, :columns])[0])
    with pytest.raises(ValueError, match="does not divide into patches"):
        given("refuse", x)


def test_conv_downsample_and_its_prefix() -> None:
    down: Any = ConvDownsample(DIM, 5, 3, stride=2, padding=1, prefix=nn.Linear(DIM, 5)).double()
    x = torch.randn(2, 2 + 7 * 4, DIM, dtype=torch.float64)
    y, grid = down(x, (7, 4))
    assert grid == (4, 2)
    assert down.prefix is not None
    torch.testing.assert_close(y[:, :2], down.prefix(x[:, :2]))
    maps = F.conv2d(x[:, 2:].mT.reshape(2, DIM, 7, 4), down.conv.weight, down.conv.bias, stride=2, padding=1)
    torch.testing.assert_close(y[:, 2:], down.norm(maps.flatten(2).mT))


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
        (lambda x: ConvStem(()), "widths must name at least one convolution"),
        (lambda x: CompactStem(DIM, convs=0), "convs must be at least 1, got 0"),
        (lambda x: ConvEmbed(0, DIM), "patch_size must be at least 1, got 0"),
        (
            lambda x: PatchMerging(3).double()(x.flatten(2).mT, (96,)),
            r"needs tokens on an \(H, W\) grid",
        ),
        (lambda x: ConvEmbed(4, DIM, remainder="keep"), "remainder must be one of 'refuse', 'pad', 'drop', got 'keep'"),
        (lambda x: ConvEmbed(4, DIM, remainder="drop").double()(x[..., :3]), r"\(4, 4\) or more would do"),
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


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 16)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (5, 3, 0), (4, 1, 2), (2, 3, 0)])
def test_sliding_grid_is_the_size_a_convolution_gives(
    size: tuple[int, int], kernel: int, stride: int, padding: int
) -> None:
    image = torch.zeros(1, 1, *size)
    expected = tuple(
        torch.nn.functional.conv2d(image, torch.ones(1, 1, kernel, kernel), None, stride, padding).shape[2:]
    )
    pairs = [(side, side) for side in (kernel, stride, padding)]
    assert sliding_grid(size, *pairs) == expected
    assert UnfoldEmbed(kernel, stride, padding)(image)[1] == expected
    assert ConvEmbed(kernel, 2, channels=1, stride=stride, padding=padding)(image)[1] == expected


@pytest.mark.parametrize("embed", [UnfoldEmbed(7, 4, 1), ConvEmbed(7, 2, stride=4, padding=1)])
def test_an_image_smaller_than_the_kernel_is_refused(embed: nn.Module) -> None:
    assert embed(torch.randn(1, 3, 5, 5))[1] == (1, 1)
    with pytest.raises(ValueError, match=r"\(5, 4\).*\(5, 5\) or more"):
        embed(torch.randn(1, 3, 5, 4))


def test_on_sequence_takes_a_module_as_it_is() -> None:
    check_layer(OnSequence(nn.Linear(6, 6)), 6)
    with pytest.raises(ValueError, match=r"Linear must keep the shape \(2, 4, 6\)"):
        OnSequence(nn.Linear(6, 5))(torch.randn(2, 4, 6), (2, 2))
