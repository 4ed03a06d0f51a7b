"""Resizing by a fixed proportion."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vitblocks.zoo.cross_vit import Rescale


def test_is_bicubic_without_antialiasing() -> None:
    image = torch.randn(2, 3, 24, 30)
    expected = F.interpolate(image, size=(16, 20), mode="bicubic", align_corners=False)
    assert torch.equal(Rescale(24, 16)(image), expected)


@pytest.mark.parametrize(
    ("image", "scaled"),
    [((240, 240), (224, 224)), ((480, 240), (448, 224)), ((224, 250), (208, 240)), ((1, 500), (16, 464))],
)
def test_keeps_the_proportion_to_the_nearest_multiple(image: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert Rescale(240, 224, multiple=16)(torch.zeros(1, 1, *image)).shape[2:] == scaled


def test_sides_have_proportions_of_their_own() -> None:
    assert Rescale((8, 10), (4, 20))(torch.zeros(1, 1, 16, 5)).shape[2:] == (8, 10)


def test_an_image_that_fits_is_left_alone() -> None:
    image = torch.randn(1, 3, 8, 8)
    assert Rescale(4, 4, multiple=4)(image) is image


def test_half_precision_keeps_its_dtype() -> None:
    image = torch.randn(1, 3, 12, 12)
    for dtype in (torch.float16, torch.bfloat16):
        low = Rescale(12, 8)(image.to(dtype))
        assert low.dtype == dtype
        torch.testing.assert_close(low.float(), Rescale(12, 8)(image), rtol=0.02, atol=0.02)


def test_refuses_a_size_that_is_no_multiple_and_what_is_no_image() -> None:
    with pytest.raises(ValueError, match=r"\(16, 16\) or \(32, 32\)"):
        Rescale(24, 20, multiple=16)
    with pytest.raises(ValueError, match="image must be"):
        Rescale(24, 16)(torch.zeros(3, 24, 24))
