"""Which patches a model was shown or kept: masked images and their reconstruction, adaptive sampling depth by depth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..attention import Attend
from ..grid import image_grid
from ..inspect import capture, extract
from ..inspect.frames import evaluating
from ..inspect.kept import DROPPED, original_ids, picks_patches
from ..objectives.masking import Pictures
from .drawing import caption, draw_picture, draw_veil, sheet
from .maps import check_words
from .pixels import drawable, values


def mask_picture(pictures: Pictures, images: Tensor | None = None, *, rows: Sequence[str] | None = None) -> Figure:
    """What an objective hid and predicted: a row for each image, ``mask_picture(mae.pictures(images), images)``.

    Columns: the image with grey where it was hidden; the prediction there, with grey where nothing had to be predicted; both together;
    the image itself. A prediction is drawn on the scale of the image and clipped to it.

    Args:
        pictures: of :meth:`MAE.pictures`, :meth:`SimMIM.pictures` or :meth:`MPP.pictures`.
        images: what they were made from, for the last column; left out if None.
        rows: words left of the images.

    Raises:
        ValueError: images of another shape than the pictures, or a number of words that does not fit.
    """
    masked, reconstruction, pasted = pictures
    if images is not None and images.shape != pasted.shape:
        raise ValueError(f"images must be {tuple(pasted.shape)} as the pictures are, got {tuple(images.shape)}")
    # What was pasted is the prediction itself, to the last bit; a pixel that was shown is both only by chance, and never but at 0.
    hidden = ((pasted == reconstruction) & (masked == 0)).all(dim=1).detach().cpu()
    between = values(masked if images is None else images)
    shown, predicted, both = (drawable(part, between, "pictures") for part in (masked, reconstruction, pasted))
    columns = ["shown", "predicted", "both", *(["image"] if images is not None else [])]
    words = check_words("rows", rows, len(shown))
    drawn = sheet(shown.shape[1:3], columns=columns, rows=words)
    for i, axes in enumerate(drawn.axes):
        draw_veil(axes[0], shown[i], hidden[i])
        draw_veil(axes[1], predicted[i], ~hidden[i])
        draw_picture(axes[2], both[i])
        if images is not None:
            draw_picture(axes[3], drawable(images[i : i + 1], between)[0])
    return drawn.figure


@torch.no_grad()
def kept_tokens_picture(model: nn.Module, images: Tensor, *, rows: Sequence[str] | None = None) -> Figure:
    """The patches that are kept, depth by depth: a row for each image, dropped patches under grey.

    The model runs in eval mode, and is put back in the mode it was in.

    Args:
        model: one whose ``embed`` gives the patches, with parts in it that say which patches they keep (``picks_patches`` in
            :mod:`vitblocks.folding.declared`), as the :class:`~vitblocks.zoo.ats_vit.TokenSampler` of ATS does.
        images: ``(B, C, H, W)``.
        rows: words left of the images.

    Raises:
        ValueError: no part of the model says which patches it keeps, or they lie on no image grid to begin with.
    """
    pictures = drawable(images)
    with evaluating(model), capture(model, picks_patches) as picks, extract(model, "embed") as tokens:
        model(images)
    height, width = image_grid(tokens["embed"].grid or (), "kept_tokens_picture")
    drawn = sheet(
        pictures.shape[1:3],
        columns=["image", *(f"after\nblock {depth}" for depth in sampling_depths(model))],
        rows=check_words("rows", rows, len(pictures)),
        captions=True,
    )
    for i, axes in enumerate(drawn.axes):
        draw_picture(axes[0], pictures[i])
        caption(axes[0], f"{height * width} patches")
        for stage, panel in enumerate(axes[1:], start=1):
            ids = original_ids(picks[:stage])[i].cpu()
            dropped = torch.ones(height * width)
            dropped[ids[ids != DROPPED]] = 0.0
            draw_veil(panel, pictures[i], rearrange(dropped, "(h w) -> h w", h=height), strength=0.85)
            caption(panel, f"{int((dropped == 0).sum())} kept")
    return drawn.figure


def sampling_depths(model: nn.Module) -> list[int]:
    """How many blocks come up to each part that picks patches, its own included: counted by their Attends."""
    depth, depths = 0, []
    for module in model.modules():
        depth += isinstance(module, Attend)
        if picks_patches(module):
            depths.append(depth)
    return depths
