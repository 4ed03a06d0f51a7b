"""Which patches of the image are left, where parts drop some on the way."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..folding.declared import declared

DROPPED = -1
"""Padding among the places of patches that are kept."""


def picks_patches(module: nn.Module) -> bool:
    """Whether what a module gives is which patches are kept, as it declares: places ``(B, K)`` among those there were, else ``DROPPED``."""
    return bool(declared(module, "picks_patches"))


def original_ids(picks: Sequence[Tensor]) -> Tensor:
    """The patches that are left after several samplers, by their places in the image: ``(B, K)``, padding ``DROPPED``.

    ``picks`` is what each sampler (:func:`picks_patches`) returned, in order: places among the patches that the one before it kept.
    """
    ids = picks[0]
    for pick in picks[1:]:
        ids = ids.gather(1, pick.clamp(min=0)).masked_fill(pick == DROPPED, DROPPED)
    return ids
