"""Views of a digit for DINO: what may change about it while it stays the same digit."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DEGREES, SLANT, STRETCH = 12.0, 0.3, 0.15
THICKNESS, NOISE = 0.5, 0.1
BRIGHTNESS = (0.6, 1.4)


def between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def crop(images: Tensor, size: int, share: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Of each image ``(B, C, H, W)`` a part, turned and slanted: ``(B, C, size, size)``.

    ``share``: the least and the most of the area that is seen. Turning may show a corner from beyond the border, which is empty.
    """
    count = len(images)
    side = between(*share, count, generator).sqrt()
    wide, high = ((side * between(1 - STRETCH, 1 + STRETCH, count, generator)).clamp(max=1) for _ in range(2))
    right, down = ((1 - part) * between(-1, 1, count, generator) for part in (wide, high))
    angle = between(-math.radians(DEGREES), math.radians(DEGREES), count, generator)
    slant = between(-SLANT, SLANT, count, generator)
    cosine, sine = angle.cos(), angle.sin()
    rows = [wide * cosine, high * (slant * cosine - sine), right, wide * sine, high * (slant * sine + cosine), down]
    places = F.affine_grid(
        torch.stack(rows, dim=1).view(-1, 2, 3), [*images.shape[:2], size, size], align_corners=False
    )
    return F.grid_sample(images, places, align_corners=False)


def ink(images: Tensor, generator: torch.Generator) -> Tensor:
    """A thicker or thinner pen, brighter or darker, and noise."""
    thicker, bright, noise = (
        between(*bounds, len(images), generator).view(-1, 1, 1, 1)
        for bounds in ((-THICKNESS, THICKNESS), BRIGHTNESS, (0.0, NOISE))
    )
    images = images.lerp(F.max_pool2d(images, 3, 1, 1), thicker.clamp(min=0))
    images = images.lerp(-F.max_pool2d(-images, 3, 1, 1), (-thicker).clamp(min=0))
    return bright * images + noise * torch.randn(images.shape, generator=generator)
