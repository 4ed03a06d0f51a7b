"""Heads: from pooled features to logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .registry import part


def linear_head(dim: int, num_classes: int) -> nn.Module:
    """A Linear to ``num_classes`` logits, or the features themselves with ``num_classes=0``.

    Raises:
        ValueError: ``num_classes`` is negative.
    """
    if num_classes < 0:
        raise ValueError(f"num_classes must be at least 0, got {num_classes}")
    return nn.Linear(dim, num_classes) if num_classes else nn.Identity()


@part
class AveragedHeads(nn.Module):
    """Several heads whose logits are averaged (DeiT's inference with both tokens, arXiv:2012.12877, Section 4).

    ``features`` is ``(B, heads, C)``, a row for each head, or ``(B, C)`` that all of them read. Training and inference return the same
    one tensor; what distillation trains each head with comes from :meth:`each`.
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        """Raises ValueError if there is no head."""
        super().__init__()
        if not heads:
            raise ValueError("heads must name at least one head")
        self.heads = nn.ModuleList(heads)

    def each(self, features: Tensor) -> tuple[Tensor, ...]:
        """The logits of each head, ``(B, num_classes)`` every one."""
        if features.dim() == 3 and features.shape[1] != len(self.heads):
            raise ValueError(f"features {tuple(features.shape)} must have a row for each of {len(self.heads)} heads")
        rows = features.unbind(dim=1) if features.dim() == 3 else [features] * len(self.heads)
        return tuple(head(row) for head, row in zip(self.heads, rows, strict=True))

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack(self.each(features)).mean(dim=0)
