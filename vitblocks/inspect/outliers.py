"""Tokens whose norm stands out: the artefacts that register tokens take up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .extract import extract
from .frames import evaluating
from .sites import named_blocks
from .table import aligned


@dataclass(frozen=True)
class LayerNorms:
    """The norms of the tokens that one block passes on.

    Attributes:
        block: its number, as ``"blocks.3"``.
        median, largest: of the patches of all images.
        prefix: the mean norm of the prefix tokens; None without any.
        outliers: the patches that stand out as (image, row, column), or (image, number) where they lie on no image grid.
        share: how many of all patches that are.
        channel: the channel with the largest value of all.
        channel_ratio: that value by the median size of a value.
    """

    block: str
    median: float
    largest: float
    prefix: float | None
    outliers: list[tuple[int, ...]]
    share: float
    channel: int
    channel_ratio: float


@dataclass(frozen=True)
class NormReport:
    """A :class:`LayerNorms` for each block; ``print`` gives a line each."""

    layers: list[LayerNorms]
    factor: float

    def __str__(self) -> str:
        head = [
            "block",
            "median norm",
            "largest",
            "prefix",
            f"patches above {self.factor:g} medians",
            "channel",
            "by median",
        ]
        rows = [
            [
                row.block,
                f"{row.median:.2f}",
                f"{row.largest:.2f}",
                "" if row.prefix is None else f"{row.prefix:.2f}",
                f"{len(row.outliers)} ({row.share:.2%})",
                str(row.channel),
                f"{row.channel_ratio:.1f}",
            ]
            for row in self.layers
        ]
        return "\n".join("  ".join(cells) for cells in aligned([head, *rows], left=1))


@torch.no_grad()
def token_norms(model: nn.Module, images: Tensor, *, factor: float = 3.0) -> NormReport:
    """How long tokens are behind each block, in evaluation, and which patches stand out.

    Large models without registers mark a few patches of plain background by norms far above the others' (arXiv:2309.16588, Section 2.1),
    and single channels by values far above the others' (arXiv:2402.17762, Section 3).

    Args:
        model: any model with blocks.
        images: ``(B, channels, height, width)``.
        factor: a patch stands out whose norm is above so many medians of its block.

    Raises:
        ValueError: ``factor`` is not above 1, or the model has no blocks that give tokens.
    """
    if not factor > 1:
        raise ValueError(f"factor must be above 1, since it counts medians, got {factor}")
    named = named_blocks(model)
    if not named:
        raise ValueError(f"model must have blocks, {type(model).__name__} has none")
    with evaluating(model), extract(model, [name for name, _ in named]) as tokens:
        model(images)
    records = [tokens[name] for name, _ in named]
    rows = [
        _layer(f"blocks.{i}", record.prefix, record.patches, record.grid or (), factor)
        for i, record in enumerate(records)
    ]
    return NormReport(rows, factor)


def _layer(block: str, prefix: Tensor, patches: Tensor, grid: tuple[int, ...], factor: float) -> LayerNorms:
    x = patches.float()
    norms = torch.linalg.vector_norm(x, dim=-1)
    found = (norms > factor * norms.median()).nonzero().tolist()
    width = grid[-1]
    sizes = x.abs()
    return LayerNorms(
        block,
        float(norms.median()),
        float(norms.max()),
        float(torch.linalg.vector_norm(prefix.float(), dim=-1).mean()) if prefix.shape[1] else None,
        [(image, *divmod(token, width)) if len(grid) == 2 else (image, token) for image, token in found],
        len(found) / norms.numel(),
        int(sizes.amax(dim=(0, 1)).argmax()),
        float(sizes.max() / sizes.median().clamp(min=torch.finfo(torch.float32).tiny)),
    )
