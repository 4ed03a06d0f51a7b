"""How queries, keys and values become an output, whatever geometry they were gathered from.

An ``Attend`` maps q ``(B, ..., heads, n, d)``, k ``(B, ..., heads, m, d)``, v ``(B, ..., heads, m, e)`` and an optional bias that
broadcasts to the logits ``(B, ..., heads, n, m)`` to values ``(B, ..., heads, n, e)``. A mask is a bias of -inf; given as bools, True
says that a key takes part, as ``F.scaled_dot_product_attention`` has it. ``weights`` gives the attention matrix of the same inputs:
``attend(q, k, v, bias) == attend.weights(q, k, bias) @ v`` (without dropout).
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..registry import part


def add_bias(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The sum of two biases, either of which may be missing or a mask of bools."""
    if first is None or second is None:
        return second if first is None else first
    if first.dtype == second.dtype == torch.bool:
        return first & second
    floats = second.dtype if first.dtype == torch.bool else first.dtype
    return as_bias(first, floats) + as_bias(second, floats)


def mask_bias(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean ``allowed`` as a bias: 0 where True, -inf where False."""
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, float("-inf"))


def as_bias(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the logits: a mask of bools as 0 and -inf, a bias as it is."""
    return mask_bias(bias, dtype) if bias.dtype == torch.bool else bias


def hide_keys(weights: Tensor, bias: Tensor | None) -> Tensor:
    """Weights that are zero wherever the bias is -inf or False: also of a query without any key, whose softmax is no number."""
    if bias is None:
        return weights
    return weights.masked_fill(~bias if bias.dtype == torch.bool else bias == float("-inf"), 0.0)


def fold_groups(x: Tensor) -> Tensor:
    """``(B, ..., heads, n, d)`` as ``(B', heads, n, d)``: everything before the heads becomes the batch, batch-major."""
    return x if x.dim() == 4 else rearrange(x, "b ... h n d -> (b ...) h n d")


def fold_bias(bias: Tensor, like: Tensor) -> Tensor:
    """A bias that broadcasts over ``like (B, ..., heads, n, d)``, as 4-D over its folded form.

    The fused kernels take their fast path only with a 4-D bias: one of (heads, n, m) took 2.9 times as long as (1, heads, n, m)
    (``benchmarks/kernels.py``).
    """
    lead = like.shape[:-3]
    bias = bias.reshape((1,) * (like.dim() - bias.dim()) + tuple(bias.shape))
    if prod(bias.shape[:-3]) == 1:
        return bias.reshape(1, *bias.shape[-3:])
    return bias.expand(*lead, *bias.shape[-3:]).reshape(-1, *bias.shape[-3:])


def hides_training(q: Tensor, bias: Tensor | None) -> bool:
    """Whether PyTorch may take a kernel that has no gradient of the bias: within ``torch.func.vmap`` nothing says that it is trained."""
    return bias is not None and torch.is_grad_enabled() and not (q.requires_grad or bias.requires_grad)


def softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, scale: float | None, dropout: float
) -> Tensor:
    """``F.scaled_dot_product_attention`` of the inputs of an :class:`Attend`."""
    values = F.scaled_dot_product_attention(
        fold_groups(q),
        fold_groups(k),
        fold_groups(v),
        attn_mask=None if bias is None else as_bias(fold_bias(bias, q), q.dtype).to(q.dtype),
        dropout_p=dropout,
        scale=scale,
    )
    return values.reshape(*q.shape[:-1], v.shape[-1])


class Attend(nn.Module):
    """What every Attend is: logits to weights to output. Subclasses give ``weights``, and ``forward`` where a faster way exists.

    Args:
        scale: factor of the logits; ``head_dim ** -0.5`` if None.
        dropout: rate on the attention weights in training.
    """

    def __init__(self, *, scale: float | None = None, dropout: float = 0.0) -> None:
        """Raises ValueError unless ``0 <= dropout < 1``."""
        super().__init__()
        self.scale = scale
        self.dropout = dropout

    def factor(self, q: Tensor) -> float:
        """What products of these queries and keys are multiplied by."""
        return float(q.shape[-1]) ** -0.5 if self.scale is None else self.scale

    def logits(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        """Scaled products plus the bias: ``(B, ..., heads, n, m)``."""
        logits = torch.einsum("... n d, ... m d -> ... n m", q * self.factor(q), k)
        return logits if bias is None else logits + as_bias(bias, logits.dtype)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        """The attention matrix ``(B, ..., heads, n, m)``."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(q, k, bias)")

    def drop(self, weights: Tensor) -> Tensor:
        return F.dropout(weights, self.dropout, self.training) if self.dropout else weights

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return self.drop(self.weights(q, k, bias)) @ v

    def extra_repr(self) -> str:
        return ", ".join(f"{n}={getattr(self, n)}" for n in ("scale", "dropout") if getattr(self, n) not in (None, 0.0))


@part
class SoftmaxAttend(Attend):
    """Scaled dot-product attention (arXiv:1706.03762, eq. 1), by ``F.scaled_dot_product_attention``."""

    hides_keys = True
    weighs_logits = True
    softmaxed = True
    averages = True

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        return hide_keys(self.logits(q, k, bias).softmax(dim=-1), bias)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        if hides_training(q, bias):
            return super().forward(q, k, v, bias)
        return softmax_attention(q, k, v, bias, scale=self.scale, dropout=self.dropout if self.training else 0.0)
