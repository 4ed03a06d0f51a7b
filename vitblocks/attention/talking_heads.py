"""Talking heads: the heads mix their logits before the softmax and their weights after it."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ..registry import part
from .attend import Attend, as_bias, fold_groups, hide_keys
from .global_attention import GlobalAttention
from .options import MixedHeadOptions


@part
class HeadMix(nn.Module):
    """A learned mix of the heads: ``(B, heads, n, m) -> (B, heads, n, m)``, started at the identity.

    ``init_std`` adds noise to the identity; None leaves PyTorch's own Linear initialisation in place of both.
    """

    is_linear = True

    def __init__(self, heads: int, *, init_std: float | None = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, heads))
        self.bias = nn.Parameter(torch.zeros(heads))
        if init_std is None:
            nn.init.uniform_(self.weight, -(heads**-0.5), heads**-0.5)
            nn.init.uniform_(self.bias, -(heads**-0.5), heads**-0.5)
        else:
            nn.init.eye_(self.weight)
            with torch.no_grad():
                self.weight.add_(torch.randn_like(self.weight), alpha=init_std)

    def reset_neutral(self) -> None:
        """Give back the heads as they are."""
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        # One (heads, heads) @ (heads, n * m) product an image: a Linear over the permuted tensor copies it twice.
        mix = self.weight.expand(x.shape[0], -1, -1)
        mixed = torch.baddbmm(rearrange(self.bias, "h -> h 1"), mix, rearrange(x, "b h n m -> b h (n m)"))
        return mixed.view_as(x)


@part
class TalkingHeadsAttend(Attend):
    """Softmax attention whose heads are mixed before and after the softmax (arXiv:2003.02436, Section 4).

    Both mixes have a bias, as CaiT's have (arXiv:2103.17239); a key that a bias of -inf hides gets no weight from the second. They
    start at the identity, so that a fresh one is plain attention; ``init_std=None`` starts them as Linear layers.
    """

    hides_keys = True
    weighs_logits = True
    softmaxed = True

    def __init__(
        self, heads: int, *, scale: float | None = None, dropout: float = 0.0, init_std: float | None = 0.0
    ) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.heads = heads
        self.mix_logits = HeadMix(heads, init_std=init_std)
        self.mix_weights = HeadMix(heads, init_std=init_std)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        mixed = self.mix_logits(fold_groups(self.logits(q, k))).reshape(*q.shape[:-1], k.shape[-2])
        softmax = (mixed if bias is None else mixed + as_bias(bias, mixed.dtype)).softmax(dim=-1)
        weights = self.mix_weights(fold_groups(hide_keys(softmax, bias))).reshape(softmax.shape)
        return hide_keys(weights, bias)


@part
class TalkingHeadsAttention(GlobalAttention):
    """Global attention with talking heads (arXiv:2003.02436; CaiT, arXiv:2103.17239, Section 2): ``(B, N, dim)`` kept, any grid.

    Prefix tokens are ordinary tokens.

    Args:
        attn_dropout: on the attention weights.
        init_std: the start of the mixes, see :class:`TalkingHeadsAttend`.
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        attn_dropout: float = 0.0,
        init_std: float | None = 0.0,
        **options: Unpack[MixedHeadOptions],
    ) -> None:
        attend = TalkingHeadsAttend(heads, dropout=attn_dropout, init_std=init_std)
        super().__init__(dim, heads, attend=attend, **options)
