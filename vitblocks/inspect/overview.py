"""One map of where a model looks, whatever kinds of attention it has."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from .attention_record import AttentionRecord
from .attribution import attention_rollout
from .frames import evaluating
from .record import record_attention


@torch.no_grad()
def attention_overview(model: nn.Module, images: Tensor) -> Tensor:
    """How much of each image the model reads from each place: ``(B, h, w)``.

    Where all attention is among all tokens, its rollout (arXiv:2005.00928): of the class token, or the mean over patches. Else how much
    each patch is read in the last attention whose keys lie on a grid, the mean over heads and queries.

    Raises:
        ValueError: no attention of the model says where its keys lie.
    """
    with evaluating(model):
        try:
            record = attention_rollout(model, images)
        except ValueError:
            with record_attention(model) as records:
                model(images)
            on_grid = [one for one in records if one.keys is not None and len(one.keys.grid) == 2]
            if not on_grid:
                raise ValueError(f"no attention of {type(model).__name__} says where its keys lie") from None
            return _read(on_grid[-1])
    keys = record.known()[1]
    return record.key_map(0)[:, 0] if keys.prefix else _read(record)


def _read(record: AttentionRecord) -> Tensor:
    """The mean over heads and queries of the weights that each patch gets."""
    keys = record.known()[1]
    read = reduce(record.matrix(), "b heads queries keys -> b keys", "mean")[:, keys.prefix :]
    return rearrange(read, "b (h w) -> b h w", h=keys.grid[0], w=keys.grid[1])
