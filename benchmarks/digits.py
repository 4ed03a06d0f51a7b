"""Scanned digits as tensors: 1,797 images that come with scikit-learn, so that nothing is downloaded."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from vitblocks.demo.learning import SIDE, Labelled

__all__ = ["HELD_OUT", "SIDE", "Labelled", "digits", "jitter"]

HELD_OUT = 0.2


def digits(seed: int) -> tuple[Labelled, Labelled]:
    """Images to train on, and a fifth held out with as many of each digit in proportion; ``seed`` picks which."""
    scans = load_digits()
    images = torch.as_tensor(scans.images, dtype=torch.float32)[:, None] / scans.images.max()
    # Scanned at 8x8: twice the size gives sub-pixel shifts and turns something to interpolate.
    images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear")
    labels = torch.as_tensor(scans.target)
    parts = train_test_split(range(len(labels)), test_size=HELD_OUT, stratify=scans.target, random_state=seed)
    train, held_out = (Labelled(images[part], labels[part]) for part in parts)
    return train, held_out


def jitter(
    images: Tensor, generator: torch.Generator, *, degrees: float = 12.0, zoom: float = 0.1, shift: float = 1.5
) -> Tensor:
    """Each image turned, zoomed and shifted (by at most ``shift`` pixels) at random."""
    turn, scale, right, down = torch.rand(4, len(images), generator=generator) * 2 - 1
    angle, scale = turn * math.radians(degrees), 1 + scale * zoom
    step = 2 * shift / images.shape[-1]  # affine_grid measures the image from -1 to 1
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cosine, -sine, right * step, sine, cosine, down * step], dim=1).view(-1, 2, 3)
    places = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, places, align_corners=False)
