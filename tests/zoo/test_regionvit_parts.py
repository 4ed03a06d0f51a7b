"""RegionViT's own parts against loops over what their docstrings say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitblocks import PEG, ConvDownsample, ConvEmbed
from vitblocks.position import RelativeBias
from vitblocks.zoo.regionvit import DownsampleBothMaps, OnBothMaps, RegionalAttention, RegionalEmbed

from ..attention.common import Recorder

DIM, HEADS, HEAD_DIM = 12, 3, 4


def tokens(count: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, DIM, dtype=torch.float64)


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


def test_an_image_that_does_not_divide_is_padded_on_both_sides_for_the_regions_alone() -> None:
    embed = RegionalEmbed(ConvEmbed(2, 8), 8, window=(2, 3))  # regions of 4 x 6
    image = torch.randn(2, 3, 8, 14)  # 2 columns of zeros on either side
    x, grid = embed(image)
    assert grid == (4, 7)
    assert x.shape == (2, 6 + 28, 8)
    regional = embed.regional(F.pad(image, (2, 2)))
    assert torch.equal(x[:, :6], regional.flatten(2).transpose(1, 2))
    assert torch.equal(x[:, 6:], embed.local(image)[0])


def test_a_side_that_divides_is_not_padded() -> None:
    """The authors' code pads it by a whole region once the other side does not divide."""
    x, grid = RegionalEmbed(ConvEmbed(2, 8), 8, window=2)(torch.randn(1, 3, 8, 6))
    assert x.shape[1] - grid[0] * grid[1] == 2 * 2


def test_one_layer_on_both_maps() -> None:
    peg = PEG(4)
    x, grid = torch.randn(2, 6 + 35, 4), (5, 7)
    y = OnBothMaps(peg, (2, 4))(x, grid)
    assert torch.equal(y[:, :6], peg(x[:, :6], (3, 2)))
    assert torch.equal(y[:, 6:], peg(x[:, 6:], grid))


@pytest.mark.parametrize("grid", [(8, 12), (5, 7), (1, 9), (2, 2)])
def test_downsampling_keeps_a_region_for_each_window(grid: tuple[int, int]) -> None:
    halve = ConvDownsample(4, 6, 3, stride=2, padding=1)
    down = DownsampleBothMaps(halve, window=3)
    rows, columns = -(-grid[0] // 3), -(-grid[1] // 3)
    x, coarse = down(torch.randn(2, rows * columns + grid[0] * grid[1], 4), grid)
    assert down.stride == (2, 2)
    assert coarse == (-(-grid[0] // 2), -(-grid[1] // 2))
    again, _ = down.transition(torch.randn(2, rows * columns, 4), (rows, columns))
    assert x.shape == (2, again.shape[1] + coarse[0] * coarse[1], 6)
    assert again.shape[1] == -(-coarse[0] // 3) * -(-coarse[1] // 3)


@pytest.mark.parametrize("part", [OnBothMaps(nn.Identity(), 3), DownsampleBothMaps(ConvDownsample(4, 4), 3)])
def test_another_number_of_regions_is_refused(part: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"2 x 2 windows of \(3, 3\), x carries 3"):
        part(torch.randn(1, 3 + 36, 4), (6, 6))
