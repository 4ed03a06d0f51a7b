"""Images as what can be drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class Values(NamedTuple):
    """The values that are drawn as nothing and as full."""

    low: float
    high: float


def values(images: Tensor) -> Values:
    """What a batch of images is drawn between: 0 and 1, 0 and 255 for bytes, else its smallest and largest value."""
    if images.dtype == torch.uint8:
        return Values(0.0, 255.0)
    low, high = images.min().item(), images.max().item()
    return Values(0.0, 1.0) if low >= 0 and high <= 1 else Values(low, high)


def drawable(images: Tensor, between: Values | None = None, name: str = "images") -> Tensor:
    """Images ``(B, C, H, W)`` as colours ``(B, H, W, 3)`` from 0 to 1, on the CPU; values outside ``between`` are clipped.

    Raises:
        TypeError: not a tensor.
        ValueError: not 4-D, empty, neither 1 nor 3 channels, or not finite.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be a tensor (B, C, H, W), got {type(images).__name__}")
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(f"{name} must be (B, C, H, W) with 1 or 3 channels, got {tuple(images.shape)}")
    if not images.isfinite().all():
        raise ValueError(f"{name} must be finite, got NaN or infinity among {tuple(images.shape)}")
    low, high = values(images) if between is None else between
    scaled = (images.detach().cpu().float() - low) / max(high - low, 1e-12)
    return rearrange(scaled.clamp(0, 1), "b c h w -> b h w c").expand(-1, -1, -1, 3)


def luminance(picture: Tensor) -> Tensor:
    """Colours ``(..., 3)`` as grey ``(...)`` (ITU-R BT.601)."""
    return picture @ torch.tensor([0.299, 0.587, 0.114])
