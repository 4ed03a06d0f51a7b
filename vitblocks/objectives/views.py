"""Views of an image for self-supervised training: crops of two sizes, and what is done to their colours."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import exp, log
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..extras import extra
from ..grid import Size, to_pair
from ..norm import at_least_float32
from ..registry import part

Augment: TypeAlias = Callable[[Tensor], Tensor]
"""``images (B, C, H, W) -> images`` of the same shape."""

RATIOS = (3 / 4, 4 / 3)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def random_box(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """A box in an image of ``size``: top, left, height, width.

    Its share of the area is uniform within ``scale`` and the logarithm of its aspect ratio between 3:4 and 4:3 (Inception's crops,
    arXiv:1409.4842, Section 6); a side that would stick out is cut to the image. Drawn from torch's generator of the CPU.
    """
    rows, columns = size
    area = rows * columns * _uniform(*scale)
    ratio = exp(_uniform(log(RATIOS[0]), log(RATIOS[1])))
    height = min(max(round((area / ratio) ** 0.5), 1), rows)
    width = min(max(round((area * ratio) ** 0.5), 1), columns)
    top = int(torch.randint(rows - height + 1, ()))
    left = int(torch.randint(columns - width + 1, ()))
    return top, left, height, width


@part
class RandomCrop:
    """A random box of each image, resized: ``(B, C, H, W) -> (B, C, *size)``, bicubic with antialiasing.

    Args:
        size: of the crops.
        scale: the smallest and the largest share of the image's area.

    Raises:
        ValueError: shares that are no rising pair within (0, 1].
    """

    def __init__(self, size: Size, scale: tuple[float, float]) -> None:
        self.size = to_pair(size, "size")
        if not 0.0 < scale[0] <= scale[1] <= 1.0:
            raise ValueError(f"scale must be two rising shares of the area within (0, 1], got {scale}")
        self.scale = scale

    def __call__(self, images: Tensor) -> Tensor:
        crops = [self.crop(image[None]) for image in images]
        return torch.cat(crops).to(images.dtype)

    def crop(self, image: Tensor) -> Tensor:
        top, left, height, width = random_box((image.shape[2], image.shape[3]), self.scale)
        box = at_least_float32(image[:, :, top : top + height, left : left + width])
        return F.interpolate(box, size=self.size, mode="bicubic", antialias=True)


@part
class ColorAugmentation:
    """DINO's augmentation by kornia: flips, colour jitter, greys, blur, solarisation, ImageNet's normalisation (arXiv:2104.14294).

    ``(B, 3, H, W)`` in [0, 1] to the same shape. Probabilities as in the authors' code: flip 0.5, jitter (0.4, 0.4, 0.2, 0.1) 0.8,
    grey 0.2.

    Args:
        size: of the images, whose tenth is the side of the blur's kernel.
        blur, solarize: probabilities.
    """

    def __init__(self, size: Size, *, blur: float, solarize: float = 0.0) -> None:
        self.size = to_pair(size, "size")
        self.blur = blur
        self.solarize = solarize

    @cached_property
    def pipeline(self) -> Callable[..., Any]:
        """kornia's modules; raises ImportError where it is not installed."""
        with extra("kornia", "without augment_fn or crops of your own, augmentation"):
            from kornia import augmentation
        kernel = max(min(self.size) // 10, 1) | 1
        mean, std = map(torch.tensor, IMAGENET)
        steps = [
            augmentation.RandomHorizontalFlip(p=0.5),
            augmentation.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            augmentation.RandomGrayscale(p=0.2),
            augmentation.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=self.blur),
            augmentation.RandomSolarize(0.0, 0.0, p=self.solarize),
            augmentation.Normalize(mean=mean, std=std),
        ]
        return torch.nn.Sequential(*steps)

    def __call__(self, images: Tensor) -> Tensor:
        if images.shape[1] != 3:
            raise ValueError(
                f"the default augmentation takes images of 3 channels, got {tuple(images.shape)}: pass augment_fn of your own"
            )
        return self.pipeline(images)


class MultiCrop:
    """Two views of much of an image and several of little of it (multi-crop, arXiv:2006.09882, Section 3.3; arXiv:2104.14294, Section 3.1).

    ``images (B, C, H, W) -> [global, global, local, ...]``, every one ``(B, C, h, w)``.

    Args:
        size, local_size: of the global and the local crops.
        scale, local_scale: the shares of the area that they show.
        local_crops: how many.
        augment: what is done to the first global crop, the second, and the local ones, after cropping.
    """

    def __init__(
        self,
        size: Size,
        local_size: Size,
        *,
        scale: tuple[float, float],
        local_scale: tuple[float, float],
        local_crops: int,
        augment: tuple[Augment, Augment, Augment],
    ) -> None:
        self.crop = RandomCrop(size, scale)
        self.local_crop = RandomCrop(local_size, local_scale)
        self.local_crops = local_crops
        self.augment = augment

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        first, second, local = self.augment
        return [
            first(self.crop(images)),
            second(self.crop(images)),
            *(local(self.local_crop(images)) for _ in range(self.local_crops)),
        ]
