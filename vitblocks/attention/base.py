"""What attention kinds share: projections into heads and back, and the biases they add to the logits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from einops import rearrange
from torch import Tensor, nn

from ..checks import check_int
from ..contract import require_module
from ..grid import Grid
from ..norm import NormFactory
from .attend import Attend, SoftmaxAttend, add_bias
from .qk_norm import QKNorm

if TYPE_CHECKING:
    from ..inspect.places import Call, Pair


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``(..., n, heads * d) -> (..., heads, n, d)``."""
    return rearrange(x, "... n (h d) -> ... h n d", h=heads)


def merge_heads(x: Tensor) -> Tensor:
    """``(..., heads, n, d) -> (..., n, heads * d)``, head-major."""
    return rearrange(x, "... h n d -> ... n (h d)")


def parted(projected: Tensor | tuple[Tensor, ...], widths: Sequence[int]) -> Sequence[Tensor]:
    """What a projection gives to queries, keys and values, of these widths: in one tensor, or one by one."""
    return projected if isinstance(projected, tuple) else projected.split(list(widths), dim=-1)


def check_heads(dim: int, heads: int, head_dim: int | None) -> int:
    """The channels per head: ``head_dim``, or ``dim / heads``.

    Raises:
        ValueError: ``heads`` is not positive, or does not divide ``dim`` while ``head_dim`` is None.
    """
    check_int("heads", heads)
    if head_dim is None:
        if dim % heads:
            raise ValueError(f"dim {dim} does not divide into {heads} heads; give heads that divide it, or head_dim")
        return dim // heads
    check_int("head_dim", head_dim)
    return head_dim


def _require_parts(**parts: nn.Module | None) -> None:
    """Raise TypeError for a part that is given and no module."""
    for name, part in parts.items():
        if part is not None:
            require_module(part, name)


def reads_queries(position_bias: nn.Module | None) -> bool:
    """Whether a position bias is called with the queries, too."""
    return bool(getattr(position_bias, "reads_queries", False))


Steps: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns between neighbouring queries, and between neighbouring keys."""

ONE: Steps = (1, 1), (1, 1)


class Attention(nn.Module):
    """The frame of every attention kind: an :class:`Attend`, an output projection, and optional position parts.

    Args:
        dim: channels in and out.
        heads: attention heads.
        head_dim: channels of a query or key; ``dim / heads`` if None.
        value_dim: channels of a value; ``head_dim`` if None.
        proj: output projection, a finished module ``heads * value_dim -> dim``; a Linear with bias if None.
        attend: how queries, keys and values become an output; :class:`SoftmaxAttend` if None.
        position_bias: a part called as ``position_bias(grid, prefix) -> (heads, n, m)``, with the grid that is attended over; one that
            declares ``reads_queries``, as :class:`~vitblocks.DecomposedBias`, is given the queries, too, and stands in self-attention.
        dropout: after the output projection.

    Raises:
        TypeError: one of the parts is no module, or ``attend`` no :class:`Attend`.
        ValueError: ``heads`` does not divide ``dim``, or is not positive; ``position_bias`` reads queries that this kind does not give.
    """

    gives_queries: ClassVar[bool] = False
    """Whether a position bias may read the queries."""

    is_layer: ClassVar[bool] = True
    """Whether it is called as ``(x, grid) -> x``; a pooler and a downsampler are not."""

    among_tokens: ClassVar[bool] = True
    """Whether its weights say how tokens look at tokens, rather than channels at channels."""

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        head_dim: int | None = None,
        value_dim: int | None = None,
        proj: nn.Module | None = None,
        attend: Attend | None = None,
        position_bias: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.heads = heads
        self.head_dim = check_heads(dim, heads, head_dim)
        self.value_dim = self.head_dim if value_dim is None else value_dim
        _require_parts(proj=proj, attend=attend, position_bias=position_bias)
        if attend is not None and not isinstance(attend, Attend):
            raise TypeError(f"attend must be an Attend, got a {type(attend).__name__}")
        if reads_queries(position_bias) and not self.gives_queries:
            raise ValueError(
                f"position_bias is a {type(position_bias).__name__}, which reads queries: {type(self).__name__} gives it none, a "
                "self-attention such as GlobalAttention does"
            )
        self.attend = SoftmaxAttend() if attend is None else attend
        self.position_bias = position_bias
        self.proj = nn.Linear(heads * self.value_dim, dim) if proj is None else proj
        self.dropout = nn.Dropout(dropout)

    @property
    def steps(self) -> Steps | None:
        """Between neighbouring queries, and between neighbouring keys: what a position bias counts in. None where that varies."""
        return None

    def places(self, call: Call) -> Pair:
        """Where queries and keys lie among the tokens, for :mod:`vitblocks.inspect`: here every token is both."""
        return call.whole()

    def projections(self) -> dict[str, nn.Module]:
        """What makes queries, keys and values; each name spells what lies in it, in order: ``qkv``, or ``q`` and ``kv``, and so on."""
        found = {name: getattr(self, name, None) for name in ("qkv", "q", "kv", "k", "v")}
        return {name: module for name, module in found.items() if isinstance(module, nn.Module)}

    def settings(self) -> dict[str, Any]:
        """What another kind that takes this one's place is made with, as far as it takes it."""
        made = [*self.projections().items(), ("proj", self.proj)]
        biases = [key for _, part in made[:-1] for key, _ in part.named_parameters() if key.endswith("bias")]
        return {
            "head_dim": self.head_dim,
            "value_dim": self.value_dim,
            "dropout": getattr(self.dropout, "p", 0.0),
            "qkv_bias": bool(biases),
            # A projection that is more than a Linear (LeViT's carry norms) has no counterpart unless the new kind gets the same.
            **{
                name: deepcopy(part)
                for name, part in made
                if name in ("qkv", "proj") and not isinstance(part, nn.Linear)
            },
        }

    def bias(self, grid: Grid, prefix: int, mask: Tensor | None = None, q: Tensor | None = None) -> Tensor | None:
        """The bias of the logits over ``prefix`` tokens and ``grid``, and a mask added to it; ``q`` for one that reads queries."""
        if self.position_bias is None:
            return mask
        read = (q,) if reads_queries(self.position_bias) else ()
        return add_bias(self.position_bias(grid, prefix, *read), mask)

    def output(self, values: Tensor) -> Tensor:
        """Values ``(..., heads, n, value_dim)`` through the output projection: ``(..., n, dim)``."""
        return self.dropout(self.proj(merge_heads(values)))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, heads={self.heads}"


class SelfAttention(Attention):
    """Queries, keys and values of the same tokens, from one projection stored as [all q heads | all k heads | all v heads].

    Args:
        qkv: a finished module ``dim -> heads * (2 * head_dim + value_dim)``; a Linear if None.
        qkv_bias: whether that Linear has a bias.
        qk_norm: factory of norms of queries and keys (:class:`~vitblocks.attention.QKNorm`), before all else; None for none.
        rotary: a part called as ``rotary(q, k, grid) -> (q, k)`` before the products.
        dim, heads, head_dim, value_dim, proj, attend, position_bias, dropout: see :class:`Attention`.
    """

    gives_queries = True

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        head_dim: int | None = None,
        value_dim: int | None = None,
        qkv: nn.Module | None = None,
        qkv_bias: bool = True,
        qk_norm: NormFactory | None = None,
        rotary: nn.Module | None = None,
        proj: nn.Module | None = None,
        attend: Attend | None = None,
        position_bias: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            dim,
            heads,
            head_dim=head_dim,
            value_dim=value_dim,
            proj=proj,
            attend=attend,
            position_bias=position_bias,
            dropout=dropout,
        )
        _require_parts(qkv=qkv, rotary=rotary)
        width = heads * (2 * self.head_dim + self.value_dim)
        self.qkv = nn.Linear(dim, width, bias=qkv_bias) if qkv is None else qkv
        self.qk_norm = None if qk_norm is None else QKNorm(self.head_dim, qk_norm)
        self.rotary = rotary

    def split_qkv(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``(..., n, dim)`` as q, k, v ``(..., heads, n, d)``, normed if they are, before any rotary position."""
        widths = [self.heads * self.head_dim, self.heads * self.head_dim, self.heads * self.value_dim]
        q, k, v = (split_heads(part, self.heads) for part in parted(self.qkv(tokens), widths))
        return (q, k, v) if self.qk_norm is None else (*self.qk_norm(q, k), v)

    def turn(self, q: Tensor, k: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Queries and keys with their rotary positions, if there are any; the last ``prod(grid)`` of each lie on ``grid``."""
        return (q, k) if self.rotary is None else self.rotary(q, k, grid)

    def project(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``(..., n, dim)`` as q, k, v ``(..., heads, n, d)``; ``grid`` is where the last of them lie, for rotary."""
        q, k, v = self.split_qkv(tokens)
        return *self.turn(q, k, grid), v

    def mix(self, tokens: Tensor, grid: Grid, prefix: int = 0, mask: Tensor | None = None) -> Tensor:
        """Tokens ``(..., prefix + prod(grid), dim)`` attending to one another within each group.

        ``mask`` broadcasts to the logits ``(..., heads, n, n)``: bools, True where a key takes part, or a bias.
        """
        q, k, v = self.project(tokens, grid)
        return self.output(self.attend(q, k, v, self.bias(grid, prefix, mask, q)))


class CrossAttention(Attention):
    """Queries of some tokens, keys and values of others: two projections, ``q`` and ``kv`` stored as [all k heads | all v heads].

    Args:
        qkv_bias: whether the projections have a bias.
        dim, heads, head_dim, attend, position_bias, dropout: see :class:`Attention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int = 8,
        *,
        head_dim: int | None = None,
        qkv_bias: bool = True,
        attend: Attend | None = None,
        position_bias: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, heads, head_dim=head_dim, attend=attend, position_bias=position_bias, dropout=dropout)
        self.q = nn.Linear(dim, heads * self.head_dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * heads * self.head_dim, bias=qkv_bias)

    def cross(self, queries: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """``queries (B, n, dim)`` attending to ``tokens (B, m, dim)``: ``(B, n, dim)``."""
        q = split_heads(self.q(queries), self.heads)
        widths = [self.heads * self.head_dim, self.heads * self.value_dim]
        k, v = (split_heads(part, self.heads) for part in parted(self.kv(tokens), widths))
        return self.output(self.attend(q, k, v, bias))
