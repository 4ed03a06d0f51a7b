"""What tests of attention give it, and see of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitblocks.attention import Attend, SelfAttention

HEADS = 3


def qkv(*lead: int, n: int = 5, m: int = 7, d: int = 4, e: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    sizes = ((n, d), (m, d), (m, e))
    q, k, v = (torch.randn(*lead, HEADS, *size, dtype=torch.float64) for size in sizes)
    return q, k, v


class Recorder:
    """The logits that a module's Attend formed."""

    def __init__(self, attn: SelfAttention) -> None:
        self.logits: list[Tensor] = []
        attn.attend.register_forward_pre_hook(self.record)

    def record(self, attend: nn.Module, inputs: tuple[Any, ...]) -> None:
        assert isinstance(attend, Attend)
        q, k, _, bias = (*inputs, None)[:4]
        self.logits.append(attend.logits(q, k, bias))
