"""What a trained model looks at, from the answer back to the pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ..inspect import record_attention
from ..model import Model
from ..pool import SequencePool


class Look(NamedTuple):
    """What was read from where.

    Attributes:
        shares: how much of the answer the sequence pool reads from each patch, ``(B, H, W)``.
        patches: the (row, column) of the patch it reads most, for each image.
        seen: for each block, from the first to the last, where that patch looks, the mean over heads: ``(B, H, W)``.
    """

    shares: Tensor
    patches: list[tuple[int, int]]
    seen: list[Tensor]


@torch.no_grad()
def look(model: Model, images: Tensor) -> Look:
    """Follow the answer to ``images`` back through the blocks of a model that ends in a :class:`SequencePool`."""
    assert isinstance(model.pool, SequencePool)
    with record_attention(model) as records:
        x, grid = model.eval().encode(images)
    shares = rearrange(model.pool.weights(x), "b (h w) -> b h w", h=grid[0])
    patches = [divmod(int(most), grid[1]) for most in rearrange(shares, "b h w -> b (h w)").argmax(dim=1)]
    seen = [
        torch.stack([record.key_map(patch)[i].mean(dim=0) for i, patch in enumerate(patches)]) for record in records
    ]
    return Look(shares, patches, seen)
