"""What the tokens of patches are like, as colours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from matplotlib.figure import Figure
from torch import Tensor

from .drawing import draw_picture, sheet
from .pixels import drawable


@torch.no_grad()
def principal_colours(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps ``(C, H, W)`` as pictures ``(H, W, 3)`` of their first three principal components (DINOv2, arXiv:2304.07193, Section 7.5).

    Tokens are centred and normed over all maps together, and the components are those of all of them, so that a colour means the same in
    each. A component runs from its 1st to its 99th percentile.

    Raises:
        ValueError: there is no map, they have other channels, or fewer than three.
    """
    if not maps or len({found.shape[0] for found in maps}) != 1 or maps[0].shape[0] < 3:
        raise ValueError(
            f"maps must be (C, H, W) with the same 3 or more channels, got {[tuple(x.shape) for x in maps]}"
        )
    tokens = torch.cat([rearrange(found, "c h w -> (h w) c").float() for found in maps])
    tokens = tokens - tokens.mean(dim=0)
    axes = torch.linalg.svd(tokens, full_matrices=False).Vh[:3]
    # The sign of a component is free: the largest weight is positive.
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    found = tokens @ axes.T
    low, high = (torch.quantile(found, share, dim=0) for share in (0.01, 0.99))
    colours = ((found - low) / (high - low).clamp(min=torch.finfo(found.dtype).tiny)).clamp(0, 1)
    sizes = [(int(x.shape[1]), int(x.shape[2])) for x in maps]
    parts = colours.split([rows * columns for rows, columns in sizes])
    return [rearrange(part, "(h w) c -> h w c", h=rows) for part, (rows, _) in zip(parts, sizes, strict=True)]


def feature_picture(images: Tensor, maps: Sequence[Tensor]) -> Figure:
    """Images, and beside each the tokens of its patches at several resolutions, as :func:`principal_colours` of each image.

    Args:
        images: ``(B, C, H, W)``.
        maps: for each resolution the maps of all images, ``(B, C, h, w)``.
    """
    pictures = drawable(images)
    titles = ["image", *(f"{found[0].shape[1]} x {found[0].shape[2]} patches" for found in maps)]
    figure, axes = sheet(images.shape[-2:], columns=titles, rows=[""] * len(images))
    for i, row in enumerate(axes):
        draw_picture(row[0], pictures[i])
        colours = principal_colours([found[i] for found in maps])
        for panel, picture in zip(row[1:], colours, strict=True):
            draw_picture(panel, picture.cpu())
    return figure
