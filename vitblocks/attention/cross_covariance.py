"""Cross-covariance attention: channels attend to channels, so that cost is linear in the number of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from typing_extensions import Unpack

from ..grid import Grid
from ..registry import part
from .attend import Attend
from .base import SelfAttention, check_heads
from .options import MixedHeadOptions

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


@part
class CrossCovarianceAttend(Attend):
    """Softmax of cosines times a learned temperature of each head (XCiT, arXiv:2106.09681, eq. 3).

    Queries and keys ``(B, heads, d, N)`` are what the channels of a head are at every token, so that ``weights`` is ``(B, heads, d, d)``.

    Raises:
        ValueError: in ``forward``, for a bias: what is added to logits of tokens has no meaning among channels.
    """

    undecayed = ("temperature",)

    def __init__(self, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__(dropout=dropout)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        if bias is not None:
            raise ValueError(f"CrossCovarianceAttend takes no bias, got one of shape {tuple(bias.shape)}")
        cosines = torch.einsum("... n d, ... m d -> ... n m", F.normalize(q, dim=-1), F.normalize(k, dim=-1))
        return (cosines * self.temperature).softmax(dim=-1)


@part
class CrossCovarianceAttention(SelfAttention):
    """Attention among the channels of each head, by what they are at all tokens (XCiT, arXiv:2106.09681, Section 3.2).

    ``(B, N, dim) -> (B, N, dim)``, any grid. Prefix tokens are ordinary tokens. Which tokens look at which it does not say: its weights are
    among channels.

    Args:
        attn_dropout: on the weights.
        position_bias, rotary: None.
        value_dim: that of keys, which is what None is.
        dim, heads, head_dim, qkv, qkv_bias, qk_norm, proj, dropout: see :class:`~vitblocks.attention.SelfAttention`.

    Raises:
        ValueError: for a position bias or rotary positions, which are of tokens, or values of another width than keys.
    """

    reads = ("qkv",)
    writes = "proj"
    separable = ("qkv",)
    among_tokens = False

    def __init__(
        self, dim: int, heads: int = 8, *, attn_dropout: float = 0.0, **options: Unpack[MixedHeadOptions]
    ) -> None:
        for name in ("position_bias", "rotary"):
            if options.get(name) is not None:
                raise ValueError(f"{name} must be None: channels attend to channels here, which have no places")
        if options.get("value_dim") not in (None, check_heads(dim, heads, options.get("head_dim"))):
            raise ValueError(
                f"value_dim must be the channels of a key, which weigh those of values, got {options['value_dim']}"
            )
        super().__init__(dim, heads, attend=CrossCovarianceAttend(heads, dropout=attn_dropout), **options)

    def places(self, call: Call) -> Pair:
        return None, None

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = (rearrange(part, "b h n d -> b h d n") for part in self.split_qkv(x))
        return self.output(rearrange(self.attend(q, k, v), "b h d n -> b h n d"))
