"""Re-attention: the heads' weights are mixed and normalised after the softmax, so that deep layers keep attending differently."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import Unpack

from ..norm import identity_norm
from ..registry import part
from .attend import Attend, fold_groups, hide_keys
from .global_attention import GlobalAttention
from .options import MixedHeadOptions
from .talking_heads import HeadMix


@part
class ReAttend(Attend):
    """Softmax, a learned mix of the heads, BatchNorm over heads (DeepViT, arXiv:2103.11886, Section 4.1, eq. 4).

    As published: the mix has a bias and a convolution's initialisation, the norm's statistics are per head over all images, queries
    and keys, and rows are not renormalised. A key that a bias of -inf hides keeps no weight after the norm.

    Args:
        heads: attention heads.
        weight_scale: factor of the normalised weights (the authors' ``reatten_scale``).
        init_std: of noise on an identity start of the mix; None for a convolution's own start, as published.
    """

    hides_keys = True
    weighs_logits = True
    softmaxed = True
    chained: ClassVar = {"mix": "norm"}

    def __init__(
        self,
        heads: int,
        *,
        scale: float | None = None,
        dropout: float = 0.0,
        weight_scale: float = 1.0,
        init_std: float | None = None,
    ) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.heads = heads
        self.weight_scale = weight_scale
        self.mix = HeadMix(heads, init_std=init_std)
        self.norm = nn.BatchNorm2d(heads)

    def reset_neutral(self) -> None:
        """Norm by nothing: with the mix at the identity, in evaluation, this is softmax attention."""
        identity_norm(self.norm, 1.0 / self.weight_scale)

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        mixed = self.mix(fold_groups(hide_keys(self.logits(q, k, bias).softmax(dim=-1), bias)))
        weights = self.norm(mixed)
        if self.weight_scale != 1.0:
            weights = weights * self.weight_scale
        return hide_keys(weights.reshape(*q.shape[:-1], k.shape[-2]), bias)


@part
class ReAttention(GlobalAttention):
    """Global attention with re-attention (DeepViT, arXiv:2103.11886): ``(B, N, dim)`` kept, any grid.

    Prefix tokens are ordinary tokens.

    Args:
        attn_dropout: on the attention weights.
        weight_scale, init_std: see :class:`ReAttend`.
        head_dim, value_dim, qkv, qkv_bias, qk_norm, rotary, proj, position_bias, dropout: see
            :class:`~vitblocks.attention.SelfAttention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        attn_dropout: float = 0.0,
        weight_scale: float = 1.0,
        init_std: float | None = None,
        **options: Unpack[MixedHeadOptions],
    ) -> None:
        attend = ReAttend(heads, dropout=attn_dropout, weight_scale=weight_scale, init_std=init_std)
        super().__init__(dim, heads, attend=attend, **options)
