"""Kernel features: attention as a product of positive features, linear in the number of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from ..registry import part
from .attend import Attend


def orthogonal_features(count: int, dim: int) -> Tensor:
    """Random features ``(count, dim)``: orthogonal in blocks of ``dim``, each as long as ``sqrt(dim)`` (arXiv:2009.14794, Section 2.4)."""
    blocks = [_random_rotation(dim) for _ in range(-(-count // dim))]
    return torch.cat(blocks)[:count] * dim**0.5


def _random_rotation(dim: int) -> Tensor:
    """Uniform over the orthogonal matrices: with the factorisation's own signs the first row would lie in one half space."""
    q, r = torch.linalg.qr(torch.randn(dim, dim))
    return q * r.diagonal().sign()


@part
class KernelAttend(Attend):
    """Performer attention by positive random features (FAVOR+, arXiv:2009.14794, Lemma 1), shared by all heads.

    Keys and values are summed up first, so that time and memory are linear in the tokens. Features of half-precision inputs are computed in
    float32, where ``eps`` does not vanish.

    Args:
        head_dim: channels of a query or key.
        features: number of random features; ``head_dim`` if None.
        eps: added to the normaliser.
        scale: of the logits; ``head_dim ** -0.5`` if None, half of it on each side.
    """

    features: Tensor

    def __init__(
        self,
        head_dim: int,
        *,
        features: int | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        """Raises ValueError if ``features`` is not positive, or if dropout is asked for: there are no weights to drop."""
        super().__init__(scale=scale, dropout=dropout)
        features = head_dim if features is None else features
        if dropout:
            raise ValueError(
                f"dropout must be 0, got {dropout}: kernel attention never forms the weights it would drop"
            )
        self.eps = eps
        self.register_buffer("features", orthogonal_features(features, head_dim))

    def feature_map(self, x: Tensor) -> Tensor:
        """Positive features ``(..., n, features)`` of queries or keys ``(..., n, d)``."""
        x = (x if x.dtype == torch.float64 else x.float()) * self.factor(x) ** 0.5
        projected = x @ self.features.to(x.dtype).T
        return torch.exp(projected - x.square().sum(dim=-1, keepdim=True) / 2) * self.features.shape[0] ** -0.5

    def normalizer(self, q: Tensor, k: Tensor) -> Tensor:
        """The sum over keys of each query's kernel values: ``(..., n, 1)``."""
        return torch.einsum("... n f, ... f -> ... n", q, k.sum(dim=-2))[..., None] + self.eps

    def weights(self, q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
        _refuse_bias(bias)
        queries, keys = self.feature_map(q), self.feature_map(k)
        return (torch.einsum("... n f, ... m f -> ... n m", queries, keys) / self.normalizer(queries, keys)).to(q.dtype)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        _refuse_bias(bias)
        queries, keys = self.feature_map(q), self.feature_map(k)
        # Two products rather than one of three: the planner of torch.einsum would bake the batch into an exported graph.
        summed = torch.einsum("... m f, ... m e -> ... f e", keys, v.to(queries.dtype))
        values = torch.einsum("... n f, ... f e -> ... n e", queries, summed)
        return (values / self.normalizer(queries, keys)).to(v.dtype)


def _refuse_bias(bias: Tensor | None) -> None:
    if bias is not None:
        raise ValueError(
            f"KernelAttend forms no logits to add a bias of shape {tuple(bias.shape)} to: "
            "use SoftmaxAttend, or a geometry without position bias or mask"
        )
