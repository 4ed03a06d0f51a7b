"""The last block for the tokens that the pool reads: the others ask nothing any more, they only answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import Attention, ClassAttention, GlobalAttention, SoftmaxAttend
from ..attention.base import reads_queries, split_heads
from ..contract import called
from ..grid import Grid
from ..model import Model, Stage
from ..prefix import join_prefix, require_prefix
from .affine import Affine, factor, follow, precede
from .branches import Branch, branches, each_alike
from .declared import behaves_as
from .freezing import only_turns
from .owners import Owners, hooked
from .projections import linears_of, taken_apart
from .reading import alike, known, sole_linear
from .report import Fold


class ReadAttention(nn.Module):
    """What attention gives the first tokens among all others: ``(B, N, dim) -> (B, count, dim)``.

    No token has a value, and none has a key unless something turns or norms it: a query is taken to the tokens, ``u = q Wk``, and the mean
    of the tokens to the values, ``softmax(u y^T) y Wv``. A bias of such keys is the same for all of them, and softmax does not see it; that
    of the values goes through their mean as it is, into the projection. Position biases are kept.

    Args:
        attn: which has softmax, and rotary positions that leave prefix tokens alone, if any.
        linears: its queries, keys and values by a Linear each.
        proj: its projection.
        count: how many tokens ask; every prefix token if None.
    """

    def __init__(
        self, attn: Attention, linears: Mapping[str, nn.Linear], proj: nn.Linear, count: int | None = None
    ) -> None:
        super().__init__()
        q, k, v = (linears[letter] for letter in "qkv")
        self.count, self.heads = count, attn.heads
        self.qk_norm, self.rotary = getattr(attn, "qk_norm", None), getattr(attn, "rotary", None)
        self.q, self.k, self.proj = q, None if self.qk_norm is None and self.rotary is None else k, proj
        self.scale = attn.attend.factor(q.weight.new_empty(0, attn.head_dim))
        if self.k is None:
            follow(q, factor(q.out_features, self.scale, q))
            self.keys = nn.Parameter(rearrange(k.weight, "(h d) c -> h d c", h=attn.heads).contiguous())
        self.values = nn.Parameter(rearrange(v.weight, "(h e) c -> h c e", h=attn.heads).contiguous())
        if v.bias is not None:
            precede(proj, Affine(torch.ones_like(v.bias, dtype=torch.float64), v.bias.double()))
        self.position_bias = attn.position_bias

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix = require_prefix(x, grid, "attention of what is read", self.count or 1)
        count = self.count or prefix
        logits = self.logits(x, count, grid)
        if self.position_bias is not None:
            logits = logits + rearrange(self.position_bias(grid, prefix)[:, :count], "h n m -> (h n) m")
        seen = rearrange(logits.softmax(dim=-1) @ x, "b (h n) c -> h (b n) c", n=count)
        return self.proj(rearrange(seen @ self.values, "h (b n) e -> b n (h e)", n=count))

    def logits(self, x: Tensor, count: int, grid: Grid) -> Tensor:
        """``(B, heads * count, N)``, of each head all that ask."""
        q = self.q(x[:, :count])
        if self.k is None:
            asked = rearrange(q, "b n (h d) -> h (b n) d", h=self.heads) @ self.keys
            return rearrange(asked, "h (b n) c -> b (h n) c", n=count) @ rearrange(x, "b m c -> b c m")
        q, k = split_heads(q, self.heads), split_heads(self.k(x), self.heads)
        if self.qk_norm is not None:
            q, k = self.qk_norm(q, k)
        if self.rotary is not None:  # those that ask have no place on the grid
            k = self.rotary(k, k, grid)[1]
        return rearrange((q * self.scale) @ rearrange(k, "b h m d -> b h d m"), "b h n m -> b (h n) m")


class ReadByPrefix(nn.Module):
    """:class:`ReadAttention` for every prefix token, as a layer: the update of patches is zero."""

    def __init__(self, read: ReadAttention) -> None:
        super().__init__()
        self.read = read

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        update = self.read(x, grid)
        return join_prefix(update, x.new_zeros(x.shape[0], x.shape[1] - update.shape[1], x.shape[2]))


class LastBlockPool(nn.Module):
    """The last block and the last norm for the tokens that a pool reads, then the pool: ``(B, N, C) -> features``.

    Args:
        first: the branch that mixes tokens, whose layer is a :class:`ReadAttention`.
        others: the layers after it, which treat every token alike.
        norm: the model's last norm.
        pool: what reads the first tokens.
    """

    def __init__(self, first: Branch, others: Sequence[nn.Module], norm: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.others = nn.ModuleList(others)
        self.norm = norm
        self.pool = pool

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        update = self.first.layer(self.first.norm(x), grid)
        x = self.first.shortcut(x[:, : update.shape[1]], update)
        for i, layer in enumerate(self.others):
            x = called(layer, f"others[{i}]", x, (0, 0))
        return self.pool(self.norm(x), (0, 0))


def read_last_block(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """The last block of a model whose pool ``reads_first`` tokens becomes a part of the pool, for these tokens alone."""
    if not _runs_plainly(model) or not owners.alone(model.pool, model.norm) or not alike(model.norm):
        return
    name, stage = known(model.pool, "reads_first"), model.stages[-1]
    if name is None or not behaves_as(stage, Stage):
        return
    layers = list(stage.layers)
    parts: list[nn.Module] = []
    while layers and owners.alone(layers[-1]):
        last = layers.pop()
        parts = [*branches(last), *parts]
        if not each_alike(parts[0]):
            break
    first, others = (parts[0], parts[1:]) if parts else (None, [])
    if not isinstance(first, Branch) or not all(each_alike(part) for part in (first.shortcut, *others)):
        return
    attention = _read_attention(first.layer, getattr(model.pool, name))
    if attention is None:
        return
    source = owners.name(last)
    yield Fold("last block for what the pool reads", source, owners.name(model.pool))
    first.layer = attention
    model.pool = LastBlockPool(first, others, model.norm, model.pool).eval().requires_grad_(False)
    model.norm = nn.Identity()
    stage.layers = nn.ModuleList(layers)


def _runs_plainly(model: nn.Module) -> TypeGuard[Model]:
    """Whether a model is embedder, stages, norm, pool and head, one after the other."""
    steps = ("forward", "forward_features", "encode")
    return (
        isinstance(model, Model)
        and not any(step in vars(model) or getattr(type(model), step) is not getattr(Model, step) for step in steps)
        and not hooked(model)
    )


def read_by_prefix(model: nn.Module, owners: Owners) -> Iterator[Fold]:
    """Attention that only prefix tokens ask in, without keys and values."""
    taken = taken_apart(model)
    for parent in list(model.modules()):
        for name, attn in list(parent.named_children()):
            if not behaves_as(attn, ClassAttention) or attn in taken or not owners.alone(attn):
                continue
            read = _read_attention(attn, None)
            if read is not None:
                setattr(parent, name, ReadByPrefix(read).eval().requires_grad_(False))
                yield Fold("class attention without keys and values", owners.name(attn), owners.name(attn))


def _read_attention(attn: nn.Module, count: int | None) -> ReadAttention | None:
    """The attention for the first tokens alone; None where it is not of all tokens, by softmax."""
    if not (behaves_as(attn, GlobalAttention) or behaves_as(attn, ClassAttention)):
        return None
    turned = only_turns(getattr(attn, "rotary", None))
    proj, linears = sole_linear(attn.proj), linears_of(attn)
    plain = behaves_as(attn.attend, SoftmaxAttend) and turned and not reads_queries(attn.position_bias)
    return None if proj is None or linears is None or not plain else ReadAttention(attn, linears, proj, count)
