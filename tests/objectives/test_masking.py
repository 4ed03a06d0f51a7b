"""Masks: how many, where, and on what they lie."""

from __future__ import annotations

import pytest
import torch

from vitblocks.objectives import masking


def test_shuffle_keeps_the_least_noise_and_can_be_undone() -> None:
    noise = torch.rand(3, 12)
    places = masking.shuffle(noise, 5)
    x = torch.arange(12).expand(3, -1)
    dropped = noise.argsort(dim=1)[:, 5:]
    shuffled = torch.cat([x.gather(1, places.kept), x.gather(1, dropped)], dim=1)
    assert torch.equal(shuffled.gather(1, places.restore), x)
    assert torch.equal(places.mask.sum(dim=1), torch.full((3,), 7))
    assert bool((noise.masked_fill(places.mask, 0).amax(dim=1) < noise.masked_fill(~places.mask, 1).amin(dim=1)).all())


@pytest.mark.parametrize(("places", "ratio", "kept"), [(16, 0.75, 4), (49, 0.75, 12), (10, 0.9, 1), (196, 0.75, 49)])
def test_kept_count(places: int, ratio: float, kept: int) -> None:
    assert masking.kept_count(places, ratio) == kept


@pytest.mark.parametrize(("places", "ratio"), [(3, 0.9), (1, 0.5)])
def test_kept_count_refuses_none(places: int, ratio: float) -> None:
    with pytest.raises(ValueError, match="at least one must be kept"):
        masking.kept_count(places, ratio)


@pytest.mark.parametrize("mask", [torch.full((1, 4), 2), torch.full((1, 4), float("nan"))])
def test_masks_are_of_bools_or_of_0_and_1(mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="mask must be of bools, or of 0 and 1"):
        masking.as_mask(mask, 1, (2, 2))


def test_random_mask_hides_as_many_in_each_image_and_every_place_as_often() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = masking.random_mask(4000, (2, 3), 0.4, torch.device("cpu"), generator)
    assert mask.shape == (4000, 2, 3)
    assert torch.equal(mask.sum(dim=(1, 2)), torch.full((4000,), 3))  # 2.4 rounded up
    assert (mask.float().mean(dim=0) - 0.5).abs().max() < 0.04  # five standard deviations of the mean
    again = masking.random_mask(4000, (2, 3), 0.4, torch.device("cpu"), generator.manual_seed(0))
    assert torch.equal(mask, again)


def test_random_mask_must_leave_something() -> None:
    with pytest.raises(ValueError, match="hides all of 1 places"):
        masking.random_mask(2, (1, 1), 0.5, torch.device("cpu"))


def test_spread_on_pixels_and_tokens() -> None:
    mask = torch.tensor([[[True, False, True], [False, True, False]]])
    pixels = masking.spread(mask, (8, 12), (4, 4))
    assert torch.equal(pixels, mask.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert torch.equal(masking.spread(mask, (4, 6), (4, 4), (2, 2)), pixels[:, ::2, ::2])
    assert torch.equal(masking.spread(mask, (7, 10), (4, 4)), pixels[:, :7, :10])  # beyond the border
    # Tokens in steps of 3 whose middles lie at 1, 4, 7 and 10 pixels.
    assert masking.spread(mask, (1, 4), (4, 4), (3, 3)).tolist() == [[[True, False, False, True]]]


def test_patchify_orders_pixels_row_column_channel() -> None:
    image = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = masking.patchify(image, (2, 3))
    assert patches.shape == (2, 4, 18)
    assert torch.equal(patches[1, 3].unflatten(0, (2, 3, 3)), image[1, :, 2:, 3:].permute(1, 2, 0))
    assert torch.equal(masking.unpatchify(patches, (2, 2), (2, 3)), image)


def test_as_mask_takes_both_shapes_and_numbers() -> None:
    mask = torch.tensor([[1, 0, 0, 1, 1, 0]])
    assert torch.equal(masking.as_mask(mask, 1, (2, 3)), masking.as_mask(mask.bool().unflatten(1, (2, 3)), 1, (2, 3)))
    with pytest.raises(ValueError, match=r"mask must be \(2, 2, 3\) or \(2, 6\)"):
        masking.as_mask(mask, 2, (2, 3))


def test_replace_keeps_prefix_tokens() -> None:
    x, token = torch.rand(1, 5, 2, dtype=torch.bfloat16), torch.zeros(1, 1, 2)
    mask = torch.tensor([[[True, False], [False, True]]])
    y = masking.replace(x, (2, 2), mask, token)
    assert y.dtype == x.dtype
    assert torch.equal(y[:, [0, 2, 3]], x[:, [0, 2, 3]])
    assert not y[:, [1, 4]].any()


def test_pictures() -> None:
    image, other = torch.rand(1, 3, 2, 2), torch.rand(1, 3, 2, 2)
    pixels = torch.tensor([[[True, False], [False, False]]])
    masked, reconstruction, pasted = masking.pictures(image, other, pixels)
    assert torch.equal(reconstruction, other)
    assert not masked[..., 0, 0].any()
    assert torch.equal(pasted[..., 0, 0], other[..., 0, 0])
    assert torch.equal(pasted[..., 1, :], image[..., 1, :])
    assert torch.equal(masked[..., 1, :], image[..., 1, :])
