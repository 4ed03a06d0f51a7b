"""Adaptors that put a map -> map module to use: as the embedder of an image, as a layer, as a downsampler."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import ClassVar, Literal, TypeAlias, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from ..contract import require_plain
from ..grid import Grid, Size, channels_last, image_grid, map_size, num_prefix, split_prefix, to_map, to_pair, to_tokens
from ..prefix import join_prefix
from ..registry import part


def map_stride(module: nn.Module) -> tuple[int, int]:
    """The stride of a map -> map module: its own ``stride``, or the product along a chain of modules."""
    own = getattr(module, "stride", None)
    if own is not None:
        return to_pair(own, "stride")
    if isinstance(module, nn.Sequential):
        strides = [map_stride(child) for child in module]
        return prod(rows for rows, _ in strides), prod(columns for _, columns in strides)
    return 1, 1


@part
class MapEmbed(nn.Module):
    """A map -> map module as an embedder: ``image (B, C, H, W) -> (x (B, H'*W', dim), grid)``.

    The image is put in channels-last here, once: then every later change between tokens and maps is a view.

    Args:
        conv: a finished map -> map module.
        norm: a finished module on the tokens, or None.

    Raises:
        TypeError: ``conv`` or ``norm`` is no module that is called with x alone.
    """

    chained: ClassVar = {"conv": "norm"}

    def __init__(self, conv: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        require_plain(conv, "conv")
        self.conv = conv
        self.norm = nn.Identity() if norm is None else norm
        require_plain(self.norm, "norm")
        self.stride = map_stride(conv)

    def forward(self, image: Tensor) -> tuple[Tensor, Grid]:
        x, grid = to_tokens(self.conv(channels_last(image)))
        return self.norm(x), grid


@part
class OnMap(nn.Module):
    """A map -> map module as a layer: patches go through it as a map, prefix tokens pass by.

    Raises:
        TypeError: ``conv`` is no map -> map module.
        ValueError: in ``forward``, where the module changes the grid, or the channels while there are prefix tokens.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        require_plain(conv, "conv")
        self.conv = conv

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix, patches = split_prefix(x, grid)
        if prefix.shape[1] and patches.shape[1] == 0:
            return x
        patches, mapped = to_tokens(self.conv(to_map(patches, grid)))
        if mapped != tuple(grid):
            raise ValueError(
                f"a layer must keep the grid {grid}, {type(self.conv).__name__} gave {mapped}: use Downsample"
            )
        if prefix.shape[1] and patches.shape[2] != prefix.shape[2]:
            raise ValueError(f"prefix tokens have {prefix.shape[2]} channels, the patches now {patches.shape[2]}")
        return join_prefix(prefix, patches)


@part
class OnSequence(nn.Module):
    """A module from elsewhere that takes the whole sequence, ``(B, N, C) -> (B, N, C)``, as a layer: the grid passes by.

    Raises:
        TypeError: ``module`` is none, or wants a grid.
        ValueError: in ``forward``, where the module changes the shape.
    """

    reads = ("module",)
    writes = "module"

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        require_plain(module, "module")
        self.module = module

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        y = self.module(x)
        if y.shape != x.shape:
            name = type(self.module).__name__
            raise ValueError(f"{name} must keep the shape {tuple(x.shape)} of the sequence, it gave {tuple(y.shape)}")
        return y


@part
class Downsample(nn.Module):
    """A map -> map module as a transition: ``(x, grid) -> (x, grid)`` on the grid that the module gives.

    Args:
        conv: a finished map -> map module.
        norm: a finished module on the patches that come out, or None.
        prefix: a finished module for prefix tokens, such as PiT's ``nn.Linear`` (arXiv:2103.16302, Section 3.1); with None they are
            refused.

    Raises:
        TypeError: ``conv``, ``norm`` or ``prefix`` is no module that is called with x alone.
        ValueError: in ``forward``, with prefix tokens while ``prefix`` is None.
    """

    chained: ClassVar = {"conv": "norm"}

    def __init__(self, conv: nn.Module, norm: nn.Module | None = None, *, prefix: nn.Module | None = None) -> None:
        super().__init__()
        require_plain(conv, "conv")
        self.conv = conv
        self.norm = nn.Identity() if norm is None else norm
        require_plain(self.norm, "norm")
        if prefix is not None:
            require_plain(prefix, "prefix")
        self.prefix = prefix
        self.stride = map_stride(conv)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        if self.prefix is None and num_prefix(x, grid):
            raise ValueError(
                f"x carries {num_prefix(x, grid)} prefix token(s) that this Downsample cannot place: "
                "give it prefix=nn.Linear(dim, out_dim), or add prefix tokens after it"
            )
        prefix, patches = split_prefix(x, grid)
        patches, coarse = to_tokens(self.conv(to_map(patches, image_grid(grid, "Downsample"))))
        patches = self.norm(patches)
        return (patches if self.prefix is None else join_prefix(self.prefix(prefix), patches)), coarse


Remainder: TypeAlias = Literal["refuse", "pad", "drop"]
"""What becomes of rows and columns that fill no whole patch: an error, patches filled up with zeros, or no patch for them."""


@part
class PatchConv2d(nn.Conv2d):
    """A convolution whose kernel is its stride: each patch of the map becomes one pixel.

    Args:
        in_channels, out_channels: channels in and out.
        patch_size: kernel and stride, an int or a (height, width).
        bias: whether there is one.
        remainder: what becomes of a map that does not divide into patches. ``"refuse"`` it; ``"pad"`` it with zeros at the bottom and
            right (Swin's detectors); ``"drop"`` what fills no whole patch at the bottom and right (Twins, and any plain convolution).

    Raises:
        ValueError: an unknown ``remainder``; in ``forward``, for a map that does not divide into patches and is refused, or of which
            nothing is left.
    """

    is_linear = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        patch_size: Size,
        *,
        bias: bool = True,
        remainder: Remainder = "refuse",
    ) -> None:
        if remainder not in get_args(Remainder):
            raise ValueError(f"remainder must be one of {', '.join(map(repr, get_args(Remainder)))}, got {remainder!r}")
        size = to_pair(patch_size, "patch_size")
        super().__init__(in_channels, out_channels, size, stride=size, bias=bias)
        self.remainder = remainder

    def forward(self, image: Tensor) -> Tensor:
        size, patch = map_size(image), (self.kernel_size[0], self.kernel_size[1])
        if self.remainder == "refuse":
            check_patches(size, patch)
        elif self.remainder == "drop":
            sliding_grid(size, patch, patch)
        else:
            image = F.pad(image, (0, -size[1] % patch[1], 0, -size[0] % patch[0]))
        return super().forward(image)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, remainder={self.remainder!r}"


@part
class SlidingConv2d(nn.Conv2d):
    """A convolution whose kernel slides in steps of its own, so that patches overlap.

    Raises:
        ValueError: in ``forward``, for a map smaller than the kernel.
    """

    is_linear = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        *,
        stride: Size,
        padding: Size,
        bias: bool = True,
    ) -> None:
        size, step = to_pair(kernel_size, "kernel_size"), to_pair(stride, "stride")
        margin = to_pair(padding, "padding", minimum=0)
        super().__init__(in_channels, out_channels, size, step, margin, bias=bias)
        self.margin = margin

    def forward(self, image: Tensor) -> Tensor:
        sliding_grid(map_size(image), self.kernel_size, self.stride, self.margin)
        return super().forward(image)


def sliding_grid(
    size: tuple[int, int], kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int] = (0, 0)
) -> tuple[int, int]:
    """How many places a kernel takes on a map of this (height, width), row by row and column by column.

    Raises:
        ValueError: the map is smaller than the kernel; the message names the smallest that is not.
    """
    least = tuple(max(k - 2 * p, 1) for k, p in zip(kernel_size, padding, strict=True))
    if size[0] < least[0] or size[1] < least[1]:
        raise ValueError(
            f"a size of {tuple(size)} is smaller than the kernel {tuple(kernel_size)} with a padding of {tuple(padding)}: "
            f"{least} or more would do"
        )
    sides = zip(size, kernel_size, stride, padding, strict=True)
    rows, columns = ((side + 2 * p - k) // step + 1 for side, k, step, p in sides)
    return rows, columns


def check_patches(size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Raise ValueError unless a (height, width) divides into patches; the message names the nearest sizes that would."""
    if size[0] % patch_size[0] == 0 and size[1] % patch_size[1] == 0 and min(size) > 0:
        return
    below, above = (
        tuple(max((side + up) // patch, 1) * patch for side, patch, up in zip(size, patch_size, rounding, strict=True))
        for rounding in ((0, 0), (patch_size[0] - 1, patch_size[1] - 1))
    )
    raise ValueError(f"a size of {size} does not divide into patches of {patch_size}: {below} or {above} would")
