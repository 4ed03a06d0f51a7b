"""The last block for the tokens that the pool reads: the others ask nothing any more, they only answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeGuard

import torch
from einops import rearrange
from torch import Tensor, nn

from ..attention import GlobalAttention, SoftmaxAttend
from ..attention.base import reads_queries
from ..contract import called
from ..grid import Grid
from ..model import Model, Stage
from ..prefix import require_prefix
from .affine import Affine, precede
from .branches import Branch, branches, each_alike
from .declared import behaves_as
from .owners import Owners, hooked
from .reading import alike, known, sole_linear
from .report import Fold


class ReadAttention(nn.Module):
    """Global attention for the first ``count`` tokens: ``(B, N, dim) -> (B, count, dim)``, what it gives them among all others.

    No token has a key or a value: a query is taken to the tokens, ``u = q Wk``, and the mean of the tokens to the values,
    ``softmax(u y^T) y Wv``. A bias of the keys is the same for all of them, and softmax does not see it; that of the values goes through
    their mean as it is, into the projection. Position biases are kept.

    Args:
        attn: whose ``qkv`` and ``proj`` are Linears, with softmax and without rotary positions.
        count: how many tokens ask.
    """

    def __init__(self, attn: GlobalAttention, qkv: nn.Linear, proj: nn.Linear, count: int) -> None:
        super().__init__()
        self.count = count
        widths = [attn.heads * attn.head_dim, attn.heads * attn.head_dim, attn.heads * attn.value_dim]
        q, k, v = qkv.weight.split(widths)
        scale = attn.attend.factor(q.new_empty(0, attn.head_dim))
        self.q = nn.Linear(attn.dim, widths[0], qkv.bias is not None, device=q.device, dtype=q.dtype)
        self.q.weight = nn.Parameter((q.double() * scale).to(q.dtype))
        self.keys = nn.Parameter(rearrange(k, "(h d) c -> h d c", h=attn.heads).contiguous())
        self.values = nn.Parameter(rearrange(v, "(h e) c -> h c e", h=attn.heads).contiguous())
        if qkv.bias is not None:
            q_bias, _, v_bias = qkv.bias.double().split(widths)
            self.q.bias = nn.Parameter((q_bias * scale).to(q.dtype))
            precede(proj, Affine(torch.ones_like(v_bias), v_bias))
        self.position_bias = attn.position_bias
        self.proj = proj

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix = require_prefix(x, grid, "the last block", self.count)
        q = rearrange(self.q(x[:, : self.count]), "b n (h d) -> h (b n) d", h=len(self.keys))
        asked = rearrange(q @ self.keys, "h (b n) c -> b (h n) c", n=self.count)
        logits = asked @ rearrange(x, "b m c -> b c m")
        if self.position_bias is not None:
            logits = logits + rearrange(self.position_bias(grid, prefix)[:, : self.count], "h n m -> (h n) m")
        seen = rearrange(logits.softmax(dim=-1) @ x, "b (h n) c -> h (b n) c", n=self.count)
        return self.proj(rearrange(seen @ self.values, "h (b n) e -> b n (h e)", n=self.count))


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


def _read_attention(attn: nn.Module, count: int) -> ReadAttention | None:
    """The attention for the first tokens alone; None where it is not global and plain."""
    if not behaves_as(attn, GlobalAttention) or not behaves_as(attn.attend, SoftmaxAttend):
        return None
    qkv, proj = sole_linear(attn.qkv), sole_linear(attn.proj)
    between = attn.rotary is not None or attn.qk_norm is not None
    if qkv is None or proj is None or between or reads_queries(attn.position_bias):
        return None
    return ReadAttention(attn, qkv, proj, count)
