"""Augmentation follows the seed, keeps shapes, and mixes images and targets in the same proportion."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitblocks.train import Recipe
from vitblocks.train.augment import augmentation, erasing, mixed, targets

IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "asked",
    [
        {"flip": 0.5},
        {"turn": 15.0, "zoom": 0.1, "shift": 0.1},
        {"shift_crop": 2},
        {"color": 0.4},
        {"randaugment": (2, 9)},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_drawn_by_the_seed(asked: dict[str, Any]) -> None:
    augment = augmentation(Recipe(**asked), (12, 12), 3)
    made = []
    for seed in (1, 1, 2, 3):
        torch.manual_seed(seed)
        made.append(augment(IMAGES))
    assert made[0].shape == IMAGES.shape
    assert torch.equal(made[0], made[1])
    assert any(not torch.equal(made[0], other) for other in made[2:])


def test_nothing_asked_for_is_nothing_done() -> None:
    assert augmentation(Recipe(), (12, 12), 3)(IMAGES) is IMAGES
    assert erasing(Recipe())(IMAGES) is IMAGES
    assert mixed(IMAGES, IMAGES, 0.0, 0.0)[0] is IMAGES


def test_randaugment_needs_colours() -> None:
    with pytest.raises(ValueError, match="3 channels"):
        augmentation(Recipe(randaugment=(2, 9)), (12, 12), 1)


def test_erasing_makes_a_hole() -> None:
    torch.manual_seed(0)
    erased = erasing(Recipe(erase=1.0))(IMAGES + 1)
    hole = (erased == 0).float().mean(dim=(1, 2, 3))
    assert ((hole > 0) & (hole < 0.5)).all()


@pytest.mark.parametrize("how", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_targets_are_mixed_as_the_images(how: tuple[float, float]) -> None:
    """Images of one colour each tell from their mean how much of which is in them."""
    colours = torch.tensor([0.0, 1.0, 2.0, 3.0])
    images = colours.view(4, 1, 1, 1).expand(4, 1, 16, 16)
    for seed in range(6):
        torch.manual_seed(seed)
        made, target = mixed(images, targets(torch.arange(4), 4, 0.0), *how)
        assert torch.allclose(made.mean(dim=(1, 2, 3)), target @ colours, atol=1e-5)
        assert torch.allclose(target.sum(dim=1), torch.ones(4))


def test_smoothed_targets() -> None:
    assert torch.allclose(targets(torch.tensor([1]), 4, 0.1), torch.tensor([[0.025, 0.925, 0.025, 0.025]]))
