"""Attention over images: maps of one's own, the heads of records, rollouts, where class tokens look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from einops import reduce
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..inspect import AttentionRecord, attention_rollout, class_attention_map, gradient_rollout
from ..inspect.frames import evaluating
from ..inspect.places import Token
from .drawing import caption, draw_picture, draw_weights, frame_reach, mark_patch, sheet
from .pixels import drawable


def overlay(
    images: Tensor, maps: Tensor, *, columns: Sequence[str] | None = None, rows: Sequence[str] | None = None
) -> Figure:
    """A row for each image: the image, then its maps over it.

    Args:
        images: ``(B, C, H, W)``, drawn as the package says.
        maps: ``(B, h, w)``, or ``(B, K, h, w)`` for several of each image, such as heads.
        columns: words above the maps, K of them.
        rows: words left of the images, B of them.

    Raises:
        ValueError: maps that do not suit the images, are empty or not finite; more or fewer words than maps or images.
    """
    pictures, cells = drawable(images), as_maps(maps, len(images))
    columns = check_words("columns", columns, cells.shape[1])
    drawn = sheet(
        pictures.shape[1:3],
        columns=["image", *columns],
        rows=check_words("rows", rows, len(pictures)),
        captions=True,
        bar=True,
    )
    for picture, weights, axes in zip(pictures, cells, drawn.axes, strict=True):
        draw_picture(axes[0], picture)
        for one, panel in zip(weights, axes[1:], strict=True):
            draw_weights(panel, picture, one)
            caption(panel, largest(one))
    return drawn.figure


def head_grid(
    records: AttentionRecord | Iterable[AttentionRecord],
    image: Tensor,
    query: Token,
    *,
    index: int = 0,
    rows: Sequence[str] | None = None,
) -> Figure:
    """Where one query looks: a row for each record, a column for each head; of a pyramid a row may have fewer.

    The query's patch has a frame; a dotted line goes around what it could see where that is not everything, as within windows.

    Args:
        records: of :func:`~vitblocks.inspect.record_attention`.
        image: ``(C, H, W)``, the one of the batch that was recorded which ``index`` names.
        query: a token's number, prefix tokens first, or the (row, column) of a patch; see
            :meth:`~vitblocks.inspect.AttentionRecord.key_map`.
        index: which image of the batch.
        rows: words for the records; their names if None.

    Raises:
        ValueError: no records, ``index`` beyond the batch, or a query that a record does not have.
    """
    chosen = [records] if isinstance(records, AttentionRecord) else list(records)
    if not chosen:
        raise ValueError("records must hold at least one, got none")
    if not all(-len(record.weights) <= index < len(record.weights) for record in chosen):
        raise ValueError(f"index must be below the batch of {len(chosen[0].weights)} images, got {index}")
    picture = drawable(image[None], name="image[None]")[0]
    heads = sorted({head for record in chosen for head in record.heads})
    drawn = sheet(
        picture.shape[:2],
        columns=[f"head {head}" for head in heads],
        rows=check_words("rows", rows, len(chosen), [in_two_lines(record.name) for record in chosen]),
        captions=True,
        bar=True,
    )
    for record, axes in zip(chosen, drawn.axes, strict=True):
        maps = as_maps(record.key_map(query)[index][None], 1)[0]
        patch = patch_of(record, query)
        for head, panel in zip(heads, axes, strict=True):
            if head not in record.heads:
                continue
            weights = maps[record.heads.index(head)]
            draw_weights(panel, picture, weights)
            caption(panel, largest(weights))
            if (maps == 0).all(dim=0).any():
                frame_reach(panel, maps.abs().amax(dim=0), picture.shape)
            if patch is not None:
                mark_patch(panel, *patch, picture.shape, linewidth=1.0)
    return drawn.figure


def rollout_picture(model: nn.Module, images: Tensor, *, rows: Sequence[str] | None = None) -> Figure:
    """Attention rollout over each image: of the class token, or the mean over patches where there is none.

    Errors: those of :func:`~vitblocks.inspect.attention_rollout` and :func:`overlay`.
    """
    drawable(images)
    with torch.no_grad():
        maps = answer_map(attention_rollout(model, images))
    return overlay(images, maps, columns=["attention\nrollout"], rows=rows)


def gradient_rollout_picture(
    model: nn.Module,
    images: Tensor,
    targets: Sequence[int] | Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
) -> Figure:
    """Gradient-weighted rollout for each class in ``targets``: a row for each image, a column for each class.

    Args:
        model: see :func:`~vitblocks.inspect.gradient_rollout`.
        images: ``(B, C, H, W)``.
        targets: classes; the one with the largest logit of each image if None.
        names: what classes are called, by number.
        rows: words left of the images.

    Errors: those of :func:`~vitblocks.inspect.gradient_rollout` and :func:`overlay`; ValueError for no targets.
    """
    drawable(images)
    if targets is None:
        return overlay(images, answer_map(gradient_rollout(model, images)), columns=["largest\nlogit"], rows=rows)
    classes = [int(target) for target in targets]
    if not classes:
        raise ValueError("targets must name at least one class, got none")
    maps = torch.stack([answer_map(gradient_rollout(model, images, target)) for target in classes], dim=1)
    words = [f"class {target}" if names is None else names[target] for target in classes]
    return overlay(images, maps, columns=words, rows=rows)


def class_attention_picture(
    model: nn.Module, images: Tensor, layer: int | str = -1, *, rows: Sequence[str] | None = None
) -> Figure:
    """Where the class token looks in one layer: a row for each image, the mean over heads, then each head.

    The model runs in eval mode, and is put back in the mode it was in. Arguments and errors: those of
    :func:`~vitblocks.inspect.class_attention_map` and :func:`overlay`.
    """
    drawable(images)
    with torch.no_grad(), evaluating(model):
        heads = class_attention_map(model, images, layer)
    maps = torch.cat([heads.mean(dim=1, keepdim=True), heads], dim=1)
    return overlay(images, maps, columns=["mean", *(f"head {head}" for head in range(heads.shape[1]))], rows=rows)


def answer_map(record: AttentionRecord) -> Tensor:
    """Of a rollout what the answer is read from: the class token's row, or the mean over patches: ``(B, H, W)``."""
    keys = record.known()[1]
    if keys.prefix:
        return record.key_map(0)[:, 0]
    height, width = keys.grid
    return reduce(record.matrix()[:, 0], "b queries (h w) -> b h w", "mean", h=height, w=width)


def patch_of(record: AttentionRecord, query: Token) -> tuple[tuple[int, int], Tensor] | None:
    """A query's (row, column) and a tensor on its grid; None for a prefix token."""
    places = record.known()[0]
    number = places.number(query) - places.prefix
    if number < 0:
        return None
    return divmod(number, places.grid[1]), torch.empty(places.grid)


def as_maps(maps: Tensor, count: int) -> Tensor:
    """Maps ``(B, h, w)`` or ``(B, K, h, w)`` as ``(B, K, h, w)`` to draw. Raises ValueError: see :func:`overlay`."""
    if not isinstance(maps, Tensor):
        raise TypeError(f"maps must be a tensor (B, h, w) or (B, K, h, w), got {type(maps).__name__}")
    if maps.dim() not in (3, 4) or len(maps) != count or not maps.numel():
        raise ValueError(f"maps must be (B, h, w) or (B, K, h, w) for {count} image(s), got {tuple(maps.shape)}")
    if not maps.isfinite().all():
        raise ValueError(f"maps must be finite, got NaN or infinity among {tuple(maps.shape)}")
    maps = maps.detach().cpu().float()
    return maps[:, None] if maps.dim() == 3 else maps


def check_words(name: str, words: Sequence[str] | None, count: int, usual: Sequence[str] | None = None) -> list[str]:
    """The words, or the usual ones, empty where there are none. Raises ValueError unless they are ``count``."""
    if words is None:
        return [""] * count if usual is None else list(usual)
    if len(words) != count:
        raise ValueError(f"{name} must be {count} words or lines, got {len(words)}: {list(words)}")
    return list(words)


def largest(weights: Tensor) -> str:
    return f"max {weights.max().item():.2g}"


def in_two_lines(name: str) -> str:
    """The name of an Attend without what they all end in, ``"stages.0"`` above ``"layers.3"``."""
    parts = name.removesuffix(".attend").removesuffix(".attn").split(".")
    half = (len(parts) + 1) // 2
    return "\n".join(".".join(part) for part in (parts[:half], parts[half:]) if part)
