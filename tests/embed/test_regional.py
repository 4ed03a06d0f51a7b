"""Regional tokens and patches as two maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitblocks import PEG, ConvDownsample, ConvEmbed
from vitblocks.zoo.regionvit import DownsampleBothMaps, OnBothMaps, PrefixMeanPool, RegionalEmbed


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


def test_pool_reads_the_prefix() -> None:
    x = torch.randn(2, 3 + 8, 4)
    assert torch.equal(PrefixMeanPool()(x, (2, 4)), x[:, :3].mean(dim=1))
    with pytest.raises(ValueError, match="PrefixMeanPool"):
        PrefixMeanPool()(x, (1, 11))
