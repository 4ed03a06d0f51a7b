"""Masks over the patches of an image: drawing them, laying them on tokens and pixels, and pictures of what they hide."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ..grid import Grid, one_line, split_prefix
from ..prefix import join_prefix


class Details(NamedTuple):
    """What an objective found, beside its loss.

    Attributes:
        loss: what ``forward`` returns.
        mask: ``(B, h, w)``, True where a patch was hidden and had to be predicted.
        reconstruction: ``(B, C, H, W)``, the prediction everywhere, in the units of the target.
    """

    loss: Tensor
    mask: Tensor
    reconstruction: Tensor

    def __repr__(self) -> str:
        return one_line(self)


class Pictures(NamedTuple):
    """What to look at, all ``(B, C, H, W)`` in the units of the image.

    Attributes:
        masked: the image with zeros where it was hidden.
        reconstruction: the prediction everywhere.
        pasted: the prediction where the image was hidden, the image elsewhere.
    """

    masked: Tensor
    reconstruction: Tensor
    pasted: Tensor

    def __repr__(self) -> str:
        return one_line(self)


class Shuffle(NamedTuple):
    """Which patches of each image are kept, in which order, and how to put all back.

    Attributes:
        kept: ``(B, K)``, places of the patches that are kept.
        restore: ``(B, N)``: the patch at place i stands at ``restore[i]`` of [kept, dropped].
        mask: ``(B, N)``, True for the dropped.
    """

    kept: Tensor
    restore: Tensor
    mask: Tensor

    def __repr__(self) -> str:
        return one_line(self)


def shuffle(noise: Tensor, keep: int) -> Shuffle:
    """Keep the patches of least ``noise (B, N)``, each image by itself (MAE, arXiv:2111.06377, Section 3)."""
    order = noise.argsort(dim=1, stable=True)
    restore = order.argsort(dim=1)
    return Shuffle(order[:, :keep], restore, restore >= keep)


def kept_count(places: int, ratio: float) -> int:
    """How many of so many places MAE keeps: the whole part of ``places * (1 - ratio)``.

    Raises:
        ValueError: none, or all.
    """
    kept = int(places * (1 - ratio) + 1e-6)  # 10 * (1 - 0.9) is a little less than 1
    if not 0 < kept < places:
        raise ValueError(
            f"masking_ratio {ratio} keeps {kept} of {places} patches: at least one must be kept and one hidden"
        )
    return kept


def uniform(
    shape: tuple[int, ...],
    device: torch.device,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Uniform numbers from [0, 1), drawn where the generator lives."""
    where = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=where, dtype=dtype).to(device)


def random_mask(
    batch: int, grid: tuple[int, int], ratio: float, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """``(B, h, w)``: in each image the same number of places, ``ratio`` of all rounded up, drawn without replacement.

    Raises:
        ValueError: that is all of them.
    """
    places = prod(grid)
    count = ceil(places * ratio - 1e-6)
    if count == places:
        raise ValueError(
            f"a ratio of {ratio} hides all of {places} places of the mask's grid {grid}: use smaller places"
        )
    order = uniform((batch, places), device, generator).argsort(dim=1)
    return rearrange(order.argsort(dim=1) < count, "b (h w) -> b h w", h=grid[0], w=grid[1])


def as_mask(mask: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
    """A mask ``(B, h, w)`` or ``(B, h*w)`` of bools, or of 0 and 1, as bools ``(B, h, w)``.

    Raises:
        TypeError: no tensor.
        ValueError: another shape, or other numbers than 0 and 1.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor, got a {type(mask).__name__}")
    if tuple(mask.shape) not in ((batch, *grid), (batch, prod(grid))):
        raise ValueError(
            f"mask must be {(batch, *grid)} or {(batch, prod(grid))} for a mask's grid of {grid}, got {tuple(mask.shape)}"
        )
    if mask.dtype != torch.bool and not torch.compiler.is_compiling() and not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"mask must be of bools, or of 0 and 1, got others of {mask.dtype}")
    return mask.bool().reshape(batch, *grid)


def spread(mask: Tensor, size: Sequence[int], place: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> Tensor:
    """A mask ``(B, h, w)`` laid on a finer grid: ``(B, *size)``.

    Args:
        size: of the finer grid.
        place: pixels of one place of the mask.
        stride: pixels between two places of the finer grid; 1 for the image itself. What counts is the middle.
    """
    rows, columns = (
        ((torch.arange(n, device=mask.device) * step + step // 2) // unit).clamp(max=last - 1)
        for n, step, unit, last in zip(size, stride, place, mask.shape[1:], strict=True)
    )
    return mask[:, rows][:, :, columns]


def hide(image: Tensor, pixels: Tensor) -> Tensor:
    """``image (B, C, H, W)`` with zeros where ``pixels (B, H, W)`` is True.

    Embedders whose patches overlap would show hidden pixels to their neighbours; for patches side by side it makes no difference.
    """
    return image.masked_fill(pixels[:, None], 0.0)


def replace(x: Tensor, grid: Grid, mask: Tensor, token: Tensor) -> Tensor:
    """Tokens ``(B, P + H*W, C)`` with ``token`` for the patches where ``mask (B, H, W)`` is True; prefix tokens stay."""
    prefix, patches = split_prefix(x, grid)
    return join_prefix(prefix, torch.where(rearrange(mask, "b h w -> b (h w) 1"), token.to(x.dtype), patches))


def patchify(image: Tensor, patch: tuple[int, int]) -> Tensor:
    """``(B, C, H, W) -> (B, N, rows * columns * C)``: the pixels of each patch, the channel fastest."""
    rows, columns = patch
    return rearrange(image, "b c (h p) (w q) -> b (h w) (p q c)", p=rows, q=columns)


def unpatchify(patches: Tensor, grid: Grid, patch: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patchify`."""
    axes = {"h": grid[0], "w": grid[1], "p": patch[0], "q": patch[1]}
    return rearrange(patches, "b (h w) (p q c) -> b c (h p) (w q)", **axes)


def pictures(image: Tensor, reconstruction: Tensor, pixels: Tensor) -> Pictures:
    """What to look at, from the image, its reconstruction, and which ``pixels (B, H, W)`` were hidden."""
    reconstruction = reconstruction.to(image.dtype)
    return Pictures(hide(image, pixels), reconstruction, torch.where(pixels[:, None], reconstruction, image))
