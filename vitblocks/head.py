"""Heads: from pooled features to logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from .checks import check_count, check_int
from .init import trunc_normal_linear
from .registry import part


def linear_head(dim: int, num_classes: int, bias: bool = True) -> nn.Module:
    """A Linear to ``num_classes`` logits, with a bias or without, or the features themselves with ``num_classes=0``.

    Raises:
        ValueError: ``num_classes`` is negative, or ``dim`` not positive.
    """
    check_int("dim", dim)
    check_count("num_classes", num_classes)
    return nn.Linear(dim, num_classes, bias) if num_classes else nn.Identity()


def reset(head: nn.Module, num_classes: int, dim: int) -> nn.Module:
    """A head of the same kind for other classes, with fresh weights; ``dim`` features where there was none.

    Linears start as zoo models' do (:func:`~vitblocks.init.trunc_normal_linear`), norms before them anew.
    With ``num_classes=0`` several heads still average, and a single one gives the features.

    Raises:
        ValueError: ``num_classes`` is negative, or the head is of a kind that has no last Linear.
    """
    if isinstance(head, AveragedHeads):
        return AveragedHeads([reset(one, num_classes, dim) for one in head.heads])
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not linears and list(head.parameters()):
        raise ValueError(
            f"the head, a {type(head).__name__}, has no Linear: put another in its place, model.head = ..."
        )
    if not linears or not num_classes:
        fresh = linear_head(linears[-1].in_features if linears else dim, num_classes)
    elif head is linears[-1]:
        fresh = linear_head(head.in_features, num_classes)
    else:
        fresh = deepcopy(head)
        name, last = [(n, m) for n, m in fresh.named_modules() if isinstance(m, nn.Linear)][-1]
        for module in fresh.modules():
            if callable(again := getattr(module, "reset_parameters", None)):
                again()
        fresh.set_submodule(name, linear_head(last.in_features, num_classes))
    return fresh.apply(trunc_normal_linear)


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
