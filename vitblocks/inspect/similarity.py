"""How alike two models are inside: centred kernel alignment of what their layers give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from .frames import evaluating
from .intervene import intervene
from .table import aligned


@dataclass(frozen=True, eq=False)
class Similarity:
    """Centred kernel alignment of the layers of two models; ``print`` gives the table.

    Attributes:
        first, second: names of the sites.
        values: ``(len(first), len(second))``, at most 1; 1 where two are the same but for a rotation and a scale.
    """

    first: list[str]
    second: list[str]
    values: Tensor

    def __str__(self) -> str:
        rows = [
            [name, *(f"{value:.3f}" for value in row)]
            for name, row in zip(self.first, self.values.tolist(), strict=True)
        ]
        return "\n".join("  ".join(cells) for cells in aligned([["", *self.second], *rows], left=1))


@torch.no_grad()
def cka(
    first: nn.Module,
    second: nn.Module,
    images: Tensor | Iterable[Tensor],
    *,
    layers: str = "blocks.*.residual",
    other_layers: str | None = None,
) -> Similarity:
    """Linear centred kernel alignment between layers of two models, in evaluation (arXiv:1905.00414, Section 3).

    Of batches by the unbiased estimator, summed over them (arXiv:2010.15327, eq. 3); an image's tokens are one long vector, so that grids
    and widths may differ (arXiv:2108.08810, Section 3).

    Args:
        first, second: models that take these images; they may be the same.
        images: one batch, or several, of at least 4 images each.
        layers: a name or pattern of sites, see :func:`~vitblocks.inspect.intervene`.
        other_layers: that of the second model; the same if None.

    Raises:
        ValueError: a batch is too small, there is none, or a pattern names no site.
    """
    batches = [images] if isinstance(images, Tensor) else images
    sums: list[Tensor] | None = None
    rows: list[str] = []
    columns: list[str] = []
    for batch in batches:
        if batch.shape[0] < 4:
            raise ValueError(
                f"images must come in batches of at least 4 for the unbiased estimator, got {batch.shape[0]}"
            )
        ours, theirs = _grams(first, batch, layers), _grams(second, batch, other_layers or layers)
        rows, columns = list(ours), list(theirs)
        a, b = torch.stack(list(ours.values())), torch.stack(list(theirs.values()))
        now = [hsic(a[:, None], b[None]), hsic(a, a)[:, None], hsic(b, b)[None]]
        sums = now if sums is None else [s + n for s, n in zip(sums, now, strict=True)]
    if sums is None:
        raise ValueError("images must hold at least one batch, got none")
    return Similarity(rows, columns, sums[0] / (sums[1] * sums[2]).sqrt())


def _grams(model: nn.Module, images: Tensor, layers: str) -> dict[str, Tensor]:
    """The products of all pairs of images ``(n, n)`` in float64, by site."""
    with evaluating(model), intervene(model) as at:
        values = at[layers].read()
        model(images)
    flat = {name: rearrange(value, "n ... -> n (...)").double() for name, value in values.items()}
    return {name: x @ x.T for name, x in flat.items()}


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """The unbiased Hilbert-Schmidt independence criterion of Gram matrices ``(..., n, n)`` (arXiv:2010.15327, eq. 3)."""
    n = k.shape[-1]
    off = 1 - torch.eye(n, dtype=k.dtype, device=k.device)
    k, m = k * off, m * off
    both = torch.einsum("... i j, ... i j -> ...", k, m)
    means = k.sum(dim=(-2, -1)) * m.sum(dim=(-2, -1)) / ((n - 1) * (n - 2))
    crossed = torch.einsum("... i, ... i -> ...", k.sum(dim=-1), m.sum(dim=-1)) * 2 / (n - 2)
    return (both + means - crossed) / (n * (n - 3))
