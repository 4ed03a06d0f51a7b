"""What is done to a batch of images on its device, by kornia, and to images and targets of a batch together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..extras import extra
from .recipe import Recipe


def augmentation(recipe: Recipe, size: tuple[int, int], channels: int) -> Callable[[Tensor], Tensor]:
    """What a recipe does to images ``(B, C, H, W)`` from 0 to 1, before they are normalised; nothing if it asks for nothing.

    It draws from PyTorch's own generators.

    Raises:
        ImportError: kornia is not installed.
    """
    steps = _steps(recipe, size, channels)
    return nn.Sequential(*steps) if steps else nn.Identity()


def _steps(recipe: Recipe, size: tuple[int, int], channels: int) -> list[Any]:
    asked = (recipe.flip, recipe.turn, recipe.zoom, recipe.shift, recipe.color, recipe.shift_crop, recipe.randaugment)
    if not any(asked):
        return []
    kornia = _kornia()
    steps: list[Any] = []
    if recipe.shift_crop:
        steps.append(kornia.RandomCrop(size, padding=recipe.shift_crop))
    if recipe.flip:
        steps.append(kornia.RandomHorizontalFlip(p=recipe.flip))
    if recipe.turn or recipe.zoom or recipe.shift:
        zoom = (1 - recipe.zoom, 1 + recipe.zoom) if recipe.zoom else None
        shift = (recipe.shift, recipe.shift) if recipe.shift else None
        steps.append(kornia.RandomAffine(recipe.turn, translate=shift, scale=zoom, p=1.0))
    if recipe.color:
        saturation = recipe.color if channels == 3 else 0.0
        steps.append(kornia.ColorJitter(recipe.color, recipe.color, saturation, 0.0, p=1.0))
    if recipe.randaugment is not None:
        if channels != 3:
            raise ValueError(
                f"randaugment is for images of 3 channels, the model takes {channels}: take turn, zoom and shift"
            )
        from kornia.augmentation.auto import RandAugment

        steps.append(RandAugment(*recipe.randaugment))
    return steps


def erasing(recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """Random erasing of normalised images, with the mean colour. Errors: as :func:`augmentation`."""
    if not recipe.erase:
        return nn.Identity()
    made: Callable[[Tensor], Tensor] = _kornia().RandomErasing(p=recipe.erase, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    return made


def targets(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Probabilities ``(B, classes)`` of classes ``(B,)``, a share of which goes to all classes alike."""
    return F.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def mixed(images: Tensor, target: Tensor, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Each image mixed with that on the other side of the batch, or with a box of it in its place, and their targets in proportion.

    One share for the batch from a Beta distribution, as in the published code of DeiT. Not kornia's: its ``RandomMixUpV2`` draws shares
    uniformly, and its ``RandomCutMixV2``, which has the distribution, mixes class numbers, not probabilities.
    """
    if not (mixup or cutmix):
        return images, target
    cuts = cutmix > 0 and (mixup == 0 or torch.rand(()).item() < 0.5)
    share = beta(cutmix if cuts else mixup)
    others = images.flip(0)
    if cuts:
        top, bottom, left, right = _box((images.shape[2], images.shape[3]), share)
        images = images.clone()
        images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    else:
        images = share * images + (1 - share) * others
    return images, share * target + (1 - share) * target.flip(0)


def beta(alpha: float) -> float:
    """A number from the Beta distribution with both parameters ``alpha``."""
    return torch.distributions.Beta(alpha, alpha).sample(()).item()


def _box(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """A box around any place of the image, cut where it sticks out, of an area of ``1 - share`` (arXiv:1905.04899, Section 3.1)."""
    sides = []
    for side in size:
        half = int(side * (1 - share) ** 0.5) // 2
        middle = int(torch.randint(side, ()))
        sides += [max(middle - half, 0), min(middle + half, side)]
    top, bottom, left, right = sides
    return top, bottom, left, right


def _kornia() -> Any:
    with extra("kornia", "augmentation"):
        from kornia import augmentation as found
    return found
