"""ATS's own parts: keep the patches that the class token looks at, as many as they deserve (arXiv:2111.15667)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ...attention.attend import Attend, as_bias, mask_bias
from ...attention.base import SelfAttention, merge_heads
from ...grid import Grid, length, num_prefix, tracing
from ...inspect.kept import DROPPED
from ...norm import LayerNorm, NormFactory, at_least_float32
from ...prefix import require_prefix
from ...registry import part
from ...residual import Shortcut


def real_tokens(x: Tensor) -> Tensor:
    """``(B, N)``: False for padding, which is an exactly zero row of the residual stream."""
    return x.detach().abs().amax(dim=-1) != 0


def real_token_mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    """The bias ``(B, 1, N, N)`` that lets every token see the real ones, and padding itself, so that no row is empty."""
    itself = torch.eye(length(real, 1), dtype=torch.bool, device=real.device)
    return mask_bias(real[:, None, None, :] | itself, dtype)


def pick_rows(x: Tensor, rows: Tensor) -> Tensor:
    """The rows ``(B, K)`` of ``x (B, N, C)``, each image its own: ``(B, K, C)``; for ``DROPPED`` any row."""
    images = torch.arange(x.shape[0], device=x.device)[:, None]
    return x[images, rows.clamp(min=0)]


def stable_sort(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x.sort(dim=1, stable=True)`` of ``x (B, M)``, without the operator of that name, which has no counterpart in ONNX.

    What is sorted the second time are whole numbers, each of them different: which run of equal values, then which place.
    """
    values, order = x.sort(dim=1)
    runs = nn.functional.pad((values[:, 1:] != values[:, :-1]).long().cumsum(dim=1), (1, 0))
    places = length(x, 1)
    return values, (runs * places + order).sort(dim=1).values % places


def _require_self_attention(attn: object) -> None:
    """Raise TypeError unless an attention has queries, keys and values of its own to take apart."""
    if not isinstance(attn, SelfAttention):
        raise TypeError(f"attn must be a SelfAttention such as GlobalAttention, got {attn!r}")


@part
class TokenSampler(nn.Module):
    """Inverse transform sampling of patches by their significance (ATS, arXiv:2111.15667, Section 3.2).

    Deterministic, as published: the distribution function of the sorted scores is read at ``samples`` evenly spaced points from its
    smallest nonzero value to 1, each point takes the nearest patch, and duplicates are dropped; all reduction comes from them.
    ``(B, M)`` scores to ``(B, min(samples, M))`` ids: the patches kept, in ascending order of score, then ``DROPPED``. A hook on this
    module sees which were kept.
    """

    picks_patches = True

    def __init__(self, samples: int) -> None:
        """Raises ValueError for fewer than 2 samples: the points lie between two ends."""
        super().__init__()
        if samples < 2:
            raise ValueError(f"samples must be at least 2, got {samples}")
        self.samples = samples

    def picks(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """For each sampling point its place in the sorted scores ``(B, samples)``, and the sorted order ``(B, M)``."""
        ordered, order = stable_sort(at_least_float32(scores))
        cdf = ordered.cumsum(dim=1)
        lowest, highest = cdf.amin(dim=1, keepdim=True), cdf.amax(dim=1, keepdim=True)
        cdf = (cdf - lowest) / (highest - lowest).clamp(min=torch.finfo(cdf.dtype).tiny)
        start = torch.where(cdf == 0, torch.full_like(cdf, torch.inf), cdf).amin(dim=1, keepdim=True).clamp(max=1)
        steps = torch.linspace(0, 1, self.samples, dtype=cdf.dtype, device=cdf.device)
        points = start + (1 - start) * steps
        return (points[:, :, None] - cdf[:, None, :]).abs().argmin(dim=2), order

    def forward(self, scores: Tensor) -> Tensor:
        places, order = self.picks(scores)
        # Points rise, so picks do: a pick is a duplicate where it equals the one before it.
        first = places != nn.functional.pad(places, (1, 0), value=-1)[:, :-1]
        ids = order.gather(1, places).masked_fill(~first, DROPPED)
        _, kept_first = stable_sort((~first).long())
        return ids.gather(1, kept_first)[:, : min(self.samples, length(scores, 1))]

    def extra_repr(self) -> str:
        return f"samples={self.samples}"


@part
class AdaptiveSampling(nn.Module):
    """Attention that keeps only the sampled tokens (ATS, arXiv:2111.15667, Section 3): a transition ``(x, grid) -> (x, (K,))``.

    Attention runs over all tokens; the rows of its output and of the residual stream are gathered for the prefix tokens and the sampled
    patches. A patch's score is the class token's attention to it, summed over heads, times the norm of its value. Images that keep
    fewer patches than others are padded with exactly zero rows, which every later :class:`SampledBlock` leaves out; :class:`TrimPadding`
    drops those that no image needs.

    Args:
        dim: channels.
        attn: a finished self-attention over all tokens that has q, k, v of its own (:class:`GlobalAttention`).
        samples: number of sampling points, the most patches that are kept.
        norm, drop_path: as in a pre-norm residual branch.

    Raises:
        ValueError: in ``forward``, without a class token.
    """

    normed: ClassVar = {"norm": "attn"}
    calls_parts_of = "attn"

    def __init__(
        self, dim: int, attn: SelfAttention, samples: int, *, norm: NormFactory = LayerNorm, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _require_self_attention(attn)
        self.norm = norm(dim)
        self.attn = attn
        self.shortcut = Shortcut(dim, drop_path=drop_path)
        self.sampler = TokenSampler(samples)

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        prefix = require_prefix(x, grid, "AdaptiveSampling")
        real = real_tokens(x)
        q, k, v = self.attn.project(self.norm(x), grid)
        # Zeroed as published: the smoothed softmax takes its maximum over padding too.
        q, k, v = (part * real[:, None, :, None] for part in (q, k, v))
        bias = self.attn.bias(grid, prefix, real_token_mask(real, x.dtype), q)
        rows = self.rows(self.sampler(self.scores(q, k, v, bias, prefix)), prefix)
        # Gathered before the output projection, which then is of the rows kept alone.
        values = pick_rows(merge_heads(self.attn.attend(q, k, v, bias)), rows)
        mixed = self.shortcut(pick_rows(x, rows), self.attn.dropout(self.attn.proj(values)))
        return mixed * (rows != DROPPED)[:, :, None], (length(rows, 1) - prefix,)

    def scores(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, prefix: int) -> Tensor:
        """The significance of each patch, summing to 1 (eq. 5): ``(B, M)``. It only ranks, so it needs no gradient."""
        class_bias = None if bias is None else bias[..., :1, :]
        with torch.no_grad():
            seen = self.attn.attend.weights(q[:, :, :1], k, class_bias).sum(dim=1)[:, 0, prefix:]
            scores = seen * torch.linalg.vector_norm(at_least_float32(v), dim=(1, 3))[:, prefix:]
            return scores / scores.sum(dim=1, keepdim=True)

    @staticmethod
    def rows(ids: Tensor, prefix: int) -> Tensor:
        """Patch ids ``(B, K)`` as rows of ``x``, the prefix tokens before them: ``(B, prefix + K)``, padding ``DROPPED``."""
        patches = torch.where(ids == DROPPED, ids, ids + prefix)
        return torch.cat([torch.arange(prefix, device=ids.device).expand(ids.shape[0], -1), patches], dim=1)


@part
class KeepPadding(nn.Module):
    """A layer that leaves padding as it is, whatever it makes of it: ``layer(x, grid) -> x`` with the zero rows of ``x`` kept zero."""

    writes = "layer"

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.layer(x, grid) * real_tokens(x)[:, :, None]


@part
class SampledBlock(nn.Module):
    """A pre-norm block that leaves padding out (ATS, arXiv:2111.15667, authors' code): ``(B, N, dim)`` kept.

    Padding is an exactly zero row of ``x``; it is not attended to, and stays zero.

    Args:
        attn: a finished self-attention over all tokens (:class:`GlobalAttention`).
        mlp: a finished layer.
        norm, drop_path: as in :class:`~vitblocks.block.Block`.
    """

    normed: ClassVar = {"norm1": "attn", "norm2": "mlp"}
    shortcuts: ClassVar = {"shortcut1": "attn", "shortcut2": "mlp"}
    calls_parts_of = "attn"

    def __init__(
        self, dim: int, attn: SelfAttention, mlp: nn.Module, *, norm: NormFactory = LayerNorm, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        _require_self_attention(attn)
        self.norm1 = norm(dim)
        self.attn = attn
        self.shortcut1 = Shortcut(dim, drop_path=drop_path)
        self.norm2 = norm(dim)
        self.mlp = mlp
        self.shortcut2 = Shortcut(dim, drop_path=drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        real = real_tokens(x)
        kept = real[:, :, None]
        mask = real_token_mask(real, x.dtype)
        update = self.attn.mix(self.norm1(x), grid, num_prefix(x, grid), mask)
        x = self.shortcut1(x, update) * kept
        return self.shortcut2(x, self.mlp(self.norm2(x), grid)) * kept


@part
class TrimPadding(nn.Module):
    """Drop the tokens that are padding in every image: a transition ``(x, (K,)) -> (x, (K',))``.

    The length then depends on the data, which cannot be exported, and what becomes of an image on the others of its batch: of the longest
    image a later sampler always drops the least significant patch, of one that has padding it drops padding first, as published.

    Raises:
        RuntimeError: in ``forward`` within ``torch.jit.trace``, which would keep the length of its example for good.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        prefix = num_prefix(x, grid)
        if tracing():
            raise RuntimeError(
                "TrimPadding cannot be traced, its length depends on the images: leave it out (ATSViT(drop_tokens=False))"
            )
        if x.is_meta or x.shape[0] == 0:  # there are no numbers to read
            return x, grid
        longest = int(real_tokens(x)[:, prefix:].sum(dim=1).amax())
        return x[:, : prefix + longest], (longest,)


@part
class SmoothedSoftmaxAttend(Attend):
    """``(e + eps / m) / (sum(e) + eps)`` with ``e = exp(logits - row maximum)`` (the authors' code of ATS, arXiv:2111.15667).

    A key that a bias of -inf hides has ``e = 0``, and so keeps ``eps / m`` of the weight, as published. The row maximum is that of the
    products alone: it runs over hidden keys too. ``eps``, which would vanish in half precision, is added in float32.
    """

    weighs_logits = True

    def __init__(self, *, scale: float | None = None, dropout: float = 0.0, eps: float = 1e-6) -> None:
        super().__init__(scale=scale, dropout=dropout)
        self.eps = eps

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = self.logits(q, k)
        shift = -logits.amax(dim=-1, keepdim=True)
        if bias is not None:
            bias = as_bias(bias, logits.dtype)
            # A finite bias may raise a logit above the largest product: exp must not overflow for it.
            shift = shift - bias.amax(dim=-1, keepdim=True).clamp(min=0)
            logits = logits + bias
        e = at_least_float32((logits + shift).exp())
        weights = (e + self.eps / k.shape[-2]) / (e.sum(dim=-1, keepdim=True) + self.eps)
        return weights.to(q.dtype)
