"""Prefix tokens: the layers that add them, and what layers do with the ones they find."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from .contract import require_plain
from .grid import Grid, num_prefix, split_prefix
from .registry import part


def join_prefix(prefix: Tensor, patches: Tensor) -> Tensor:
    """Prefix tokens before patches; no copy where there are none."""
    return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches


def require_prefix(x: Tensor, grid: Grid, what: str, least: int = 1) -> int:
    """The number of prefix tokens of ``x``.

    Raises:
        ValueError: fewer than ``least``.
    """
    count = num_prefix(x, grid)
    if count < least:
        raise ValueError(
            f"{what} reads {least} prefix token(s), got {count}: x has {x.shape[1]} tokens for grid {grid}; "
            f"put a ClassToken before it"
        )
    return count


@part
class ClassToken(nn.Module):
    """Put learned tokens before all others: ``(B, N, C) -> (B, count + N, C)``, any grid.

    One token is ViT's class token (arXiv:2010.11929, eq. 1); a second is DeiT's distillation token (arXiv:2012.12877, Section 4).
    Registers are :class:`RegisterToken`. Initialised as a truncated normal of standard deviation 0.02.
    """

    undecayed = ("token",)

    def __init__(self, dim: int, count: int = 1) -> None:
        """Raises ValueError if ``count`` is not positive."""
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, count, dim))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)

    def extra_repr(self) -> str:
        return f"count={self.token.shape[1]}, dim={self.token.shape[2]}"


@part
class RegisterToken(nn.Module):
    """Put learned tokens behind the other prefix tokens (registers, arXiv:2309.16588, Section 2.2): ``(B, N, C) -> (B, N + count, C)``.

    So the class token stays the first, which :class:`~vitblocks.ClassPool` reads, whether it is added before them or after them.
    Initialised as a truncated normal of standard deviation 0.02.
    """

    undecayed = ("token",)

    def __init__(self, dim: int, count: int = 4) -> None:
        """Raises ValueError if ``count`` is not positive."""
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, count, dim))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        prefix, patches = split_prefix(x, grid)
        return torch.cat([prefix, self.token.expand(x.shape[0], -1, -1).to(x.dtype), patches], dim=1)

    def extra_repr(self) -> str:
        return f"count={self.token.shape[1]}, dim={self.token.shape[2]}"


@part
class MaskToken(nn.Module):
    """Keep the token that stood for masked patches while weights were trained (BEiT, arXiv:2106.08254, Section 2.3; iBOT, DINOv2).

    As a layer it does nothing: ``(B, N, C)`` comes back as it is. Published weights carry it, and :meth:`replace` puts it to use. It is a
    buffer, since no output of the model trains it.
    """

    token: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("token", torch.zeros(1, 1, dim))

    def replace(self, x: Tensor, grid: Grid, masked: Tensor) -> Tensor:
        """``x (B, N, C)`` with the token in place of the patches that are ``masked (B, H*W)``, a bool; prefix tokens stay."""
        prefix, patches = split_prefix(x, grid)
        return join_prefix(prefix, torch.where(rearrange(masked, "b n -> b n 1"), self.token.to(x.dtype), patches))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Raises ValueError for tokens that the mask token could not stand for."""
        if x.shape[-1] != self.token.shape[2]:
            raise ValueError(f"x must have the {self.token.shape[2]} channels of the MaskToken, got {tuple(x.shape)}")
        return x

    def extra_repr(self) -> str:
        return f"dim={self.token.shape[2]}"


@part
class PerToken(nn.Module):
    """A module that treats every token alike (a norm, dropout, an activation) as a layer: the grid passes by."""

    reads = ("module",)
    writes = "module"
    per_token = True

    def __init__(self, module: nn.Module) -> None:
        """Raises TypeError if ``module`` is none, or wants a grid."""
        super().__init__()
        require_plain(module, "module")
        self.module = module

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.module(x)
