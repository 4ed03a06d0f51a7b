"""Softmax attention head by head, by oneDNN's products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention import SoftmaxAttend
from ..attention.attend import fold_bias, fold_groups


class HeadwiseAttend(SoftmaxAttend):
    """:class:`~vitblocks.attention.SoftmaxAttend` as two products and a softmax for each head, for where the fused kernel is slower.

    The fused kernel computes its products with MKL in small tiles. With hundreds of tokens a product of one head is large enough to be
    worth a call of its own, and its weights still fit in a cache. Inputs that a gradient is asked of, of another dtype than ``dtype``, or
    without elements, and all compiled code, go by the fused kernel.
    """

    def __init__(self, attend: SoftmaxAttend, dtype: torch.dtype) -> None:
        super().__init__(scale=attend.scale, dropout=attend.dropout)
        self.dtype = dtype

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self._suits(q, k, v):
            return super().forward(q, k, v, bias)
        queries, keys, values = fold_groups(q) * self.logit_scale(q), fold_groups(k), fold_groups(v).transpose(-1, -2)
        # A weight whose rows lie apart in memory falls to a way that is hundreds of times slower.
        heads = [part.flatten(0, 1).contiguous().unbind() for part in (queries, keys, values)]
        biases = [None] * len(heads[0]) if bias is None else _by_head(fold_bias(bias, q).to(q.dtype), queries)
        product = torch.ops.mkldnn._linear_pointwise.default
        outputs = []
        for query, key, value, added in zip(*heads, biases, strict=True):
            logits = product(query, key, None, "none", [], "")
            weights = (logits if added is None else logits.add_(added)).softmax(dim=-1)
            outputs.append(product(weights, value, None, "none", [], ""))
        return torch.stack(outputs).view(*q.shape[:-1], v.shape[-1])

    def _suits(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        if torch.compiler.is_compiling() or (self.training and self.dropout):
            return False
        gradient = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
        return not gradient and q.dtype == k.dtype == v.dtype == self.dtype and min(q.numel(), k.numel()) > 0


def _by_head(bias: Tensor, like: Tensor) -> list[Tensor]:
    """A bias ``(1 or B, 1 or heads, ...)`` for each head of each image of ``like``, without a copy."""
    expanded = bias.expand(*like.shape[:2], *bias.shape[2:])
    return [head for image in expanded.unbind() for head in image.unbind()]
